"""The MPI library that mpi4py finds, inspected before MPI starts."""

import warnings


def library() -> tuple[str, str]:
    """Return (first line of the MPI library's version, ""), or ("", error) if none loads."""
    try:
        import mpi4py

        mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        return "", str(error).split("\n")[0]
    return " ".join(version_line(MPI.Get_library_version()).split()), ""


def version_line(text: str) -> str:
    """Return the first line of a text from MPI_Get_library_version, which names the library."""
    return text.split("\n")[0].strip("\0 \t")


def join_ranks() -> None:
    """Start MPI in this process, unless it has been started."""
    from mpi4py import MPI

    with warnings.catch_warnings():
        # mpi4py suspects another MPI's launcher by guesswork; refuse_lone_worlds makes sure.
        warnings.filterwarnings("ignore", "suspicious MPI", RuntimeWarning)
        if not MPI.Is_initialized():
            MPI.Init_thread(MPI.THREAD_MULTIPLE)


def family(name: str) -> str:
    """Return "Open MPI", "MPICH" (also for its derivatives) or "", from a library's name.

    The name of a launcher will do as well.
    """
    if "Open MPI" in name or "OpenRTE" in name:
        return "Open MPI"
    kin = ("MPICH", "HYDRA", "Intel", "MVAPICH", "Cray", "CRAY", "ParaStation")
    return "MPICH" if any(word in name for word in kin) else ""
