"""Check that the ranks and threads of a node fit its cores."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from fedmpi.comm.launch import started
from fedmpi.doctor import OK, WRONG, Finding
from fedmpi.errors import counted

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def usable(affinity: int, quotas: Iterable[float]) -> int:
    """Return how many cores this process may use: the cores of its affinity, limited by quotas.

    `quotas` are numbers of cores that control groups allow, such as 1.5; at least 1 is returned.
    """
    return max(1, min([affinity, *(int(quota) for quota in quotas)]))


def quotas(root: str | Path, membership: str) -> list[float]:
    """Return the quotas, in cores, that apply to a process of the control groups `membership`.

    `root` is the folder of the control groups, `membership` the text of /proc/self/cgroup.
    """
    found: list[float | None] = []
    for line in membership.splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            found += [_quota(path / "cpu.max") for path in _up(Path(root), group)]
        elif "cpu" in controllers.split(","):
            found += [_quota(path / "cpu.cfs_quota_us", path / "cpu.cfs_period_us")
                      for path in _up(Path(root) / controllers, group)]
    return [quota for quota in found if quota]


def _up(root: Path, group: str) -> list[Path]:
    """Return the folder of a group and its parent groups: each may set a quota."""
    path = root / group.strip("/")
    return [path, *(above for above in path.parents if above.is_relative_to(root))]


def _quota(*files: Path) -> float | None:
    """Return quota / period, which are in one file or two; None without a quota."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def ranks_fit(ranks: int, cores: int) -> Finding:
    """Check that a node has a usable core for each of its ranks."""
    value = f"{counted(ranks, 'rank')} here on {counted(cores, 'core')}"
    if ranks > cores:
        return Finding(WRONG, "cores", value + ": ranks on one core slow each other down",
                       f"at most {cores} ranks here: mpiexec -n {cores}, or srun "
                       f"--ntasks-per-node={cores}")
    return Finding(OK, "cores", value)


def threads_fit(
    environ: Mapping[str, str], ranks: int, cores: int, wanted: int = 1, machine: int = 0
) -> Finding:
    """Check that the node has cores for the threads of all its ranks.

    `wanted` is run.threads_per_rank, which applies if the environment sets no number. `machine` is
    the number of cores that the ranks could use if their launcher bound no rank to a core.
    """
    given = {name: number for name in THREADS if (number := _first(environ.get(name, "")))}
    threads = max(given.values(), default=wanted)
    value = f"{counted(ranks, 'rank')} x {counted(threads, 'thread')} on {counted(cores, 'core')}"
    if cores < ranks * threads <= machine and started(environ)[1] == "OMPI_COMM_WORLD_SIZE":
        return Finding(WRONG, "threads", f"{value}: Open MPI binds each rank to a core",
                       f"mpiexec --bind-to none -n {ranks} fedmpi ...")
    if threads > 1 and ranks * threads > cores:
        fit = max(1, cores // ranks)
        remedy = " ".join(f"{name}={fit}" for name in given)
        return Finding(WRONG, "threads", value,
                       f"export {remedy}" if given else f"--set run.threads_per_rank={fit}")
    return Finding(OK, "threads", value)


def _first(text: str) -> int:
    """Return the first number of a list such as "4,2", the threads outermost; 0 without a number.

    OpenMP takes such lists, one number for each level of nested regions.
    """
    number = text.partition(",")[0].strip()
    return int(number) if re.fullmatch(r"[0-9]{1,9}", number) else 0
