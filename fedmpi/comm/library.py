"""Which MPI library mpi4py finds, looked at before MPI starts."""

import warnings


def library() -> tuple[str, str]:
    """Return the first line of the MPI library's own name, and the fault that hides it, or ""."""
    try:
        import mpi4py

        mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        return "", str(error).split("\n")[0]
    return " ".join(version_line(MPI.Get_library_version()).split()), ""


def version_line(text: str) -> str:
    """Return the first line of what MPI_Get_library_version says, which names the library."""
    return text.split("\n")[0].strip("\0 \t")


def join_ranks() -> None:
    """Start MPI in this process, unless it has been started."""
    from mpi4py import MPI

    with warnings.catch_warnings():
        # mpi4py guesses at another MPI's launcher; refuse_lone_worlds knows.
        warnings.filterwarnings("ignore", "suspicious MPI", RuntimeWarning)
        if not MPI.Is_initialized():
            MPI.Init_thread(MPI.THREAD_MULTIPLE)


def family(name: str) -> str:
    """Return "Open MPI", or "MPICH" for MPICH and its kin, from the name of library or launcher."""
    if "Open MPI" in name or "OpenRTE" in name:
        return "Open MPI"
    kin = ("MPICH", "HYDRA", "Intel", "MVAPICH", "Cray", "CRAY", "ParaStation")
    return "MPICH" if any(word in name for word in kin) else ""
