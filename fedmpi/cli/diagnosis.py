"""The verb doctor: gathers the facts of this machine, and tells what is wrong with them."""

import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedmpi.cli import facts
from fedmpi.cli.words import Verbs
from fedmpi.doctor import Finding
from fedmpi.errors import ConfigError
from fedmpi.text_file import text_of

if TYPE_CHECKING:  # they need libraries that may be missing
    from fedmpi.comm.base import Comm
    from fedmpi.config import RunSection
    from fedmpi.doctor.mpi_library import Launchers

SHARED = "/dev/shm"
MOST_CORES = 4096  # of a node
MOST_SECONDS = 86_400  # of trying
TEXT = 300  # characters of a finding that travel between nodes


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs of this module to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, doctor, "check this machine, and say how to repair what is wrong",
                  "fedmpi doctor --mpi 4")
    parser.add_argument("config", nargs="?", help="TOML file, to check its device and threads")
    parser.add_argument("-o", "--out", type=Path, default=Path("."),
                        help="result file or folder to be written (default: this folder)")
    parser.add_argument("--mpi", type=int, nargs="?", const=True, metavar="N",
                        help="try each collective, on N ranks started here or those of srun")
    parser.add_argument("--seconds", type=float, default=60, metavar="S",
                        help="how long --mpi tries (60)")


def doctor(args: Namespace) -> int:
    """Check Python, MPI, Slurm, cores, memory and folders; start it in the same way as the run.

    Each line is a finding: ok, note or wrong, and the command that repairs it. The exit code
    is 1 if something is wrong.
    """
    from fedmpi.comm import launch

    counted = args.mpi is not None and args.mpi is not True
    if counted and args.mpi < 1:
        raise ConfigError(f"--mpi {args.mpi}: must be 1 or more")
    if not 0 < args.seconds <= MOST_SECONDS:
        raise ConfigError(f"--seconds {args.seconds:g}: must be above 0 and at most {MOST_SECONDS}")
    if counted and not launch.launched(os.environ):
        return _start_ranks(args)
    speaks = launch.rank_of(os.environ) == 0
    wrong = _told(_interpreter(), speaks)
    if wrong:  # without its libraries nothing else can be looked at
        return 1
    from fedmpi.comm.library import library
    from fedmpi.doctor import mpi_library

    wanted = _wanted(args.config, speaks)
    name, fault = library()
    launchers = facts.launchers()
    wrong |= _told(_mpi(name, fault, launchers), speaks)
    comm = _joined(name, fault)
    speaks = speaks and comm.rank == 0
    here = _node(args.out, wanted, comm)
    nodes, elsewhere = _from_all_nodes(comm, here)
    joined = None if fault else mpi_library.ranks(os.environ, comm.size, nodes, name, launchers)
    wrong |= _told([joined, *here, *_nodes(comm, nodes)], speaks)
    if speaks and elsewhere:
        print("\n".join(elsewhere))
    if args.mpi is not None:
        from fedmpi.doctor.traffic import traffic

        wrong |= _told(traffic(comm, args.seconds), speaks)
    return int(wrong or any(line.startswith("wrong") for line in elsewhere))


def _start_ranks(args: Namespace) -> int:
    """Start ranks of this command, and return their exit code."""
    from fedmpi.cli import submission, sweeps

    words = [sweeps.launcher(), "-n", args.mpi, *submission.own_command(), "doctor", "--mpi",
             "--seconds", args.seconds, "-o", args.out, *([args.config] if args.config else [])]
    return subprocess.run([str(word) for word in words]).returncode


def _nodes(comm: "Comm", nodes: int) -> list[Finding | None]:
    """Findings on what the nodes have in common; every rank calls this."""
    import time

    import numpy as np

    from fedmpi.doctor import clocks, processors, storage

    text = processors.described()
    row = np.zeros(1, [("host", "S64"), ("kind", "S224"), ("time", "<f8")])
    row["host"] = os.uname().nodename
    row["kind"] = f"{processors.model(text)} ({processors.instructions(text)})"
    comm.barrier()
    row["time"] = time.time()
    rows = comm.gather_rows(row)
    hosts = [host.decode() for host in rows["host"]]
    kinds = [kind.decode(errors="replace") for kind in rows["kind"]]
    return [processors.processors(hosts, kinds), clocks.clocks(hosts, rows["time"].tolist()),
            storage.environment(
                sys.prefix, Path("/proc/mounts").read_text(), nodes, comm.size)]


def _told(findings: Iterable[Finding | None], speaks: bool) -> bool:
    """Print findings if this process speaks; say whether one of them is wrong.

    None is a thing that there is nothing to say of here.
    """
    told = [finding for finding in findings if finding]
    if speaks:
        print("\n".join(finding.line() for finding in told), flush=True)
    return any(finding.level == "wrong" for finding in told)


def _interpreter() -> list[Finding]:
    from fedmpi.doctor import WRONG, python

    first = python.python(tuple(sys.version_info[:3]), sys.executable)
    if first.level == WRONG:  # it was not made for this one: no wonder what is missing there
        return [first]
    found = {name: facts.version_of(name) for name in python.NEEDED}
    return [first, python.libraries(found, sys.executable)]


def _mpi(name: str, fault: str, launchers: "Launchers") -> list[Finding | None]:
    """Findings on library, launcher and Slurm, before any of them is used."""
    from fedmpi.doctor import mpi_library

    found: list[Finding | None] = [mpi_library.library(name, fault)]
    if not fault:
        found.append(mpi_library.launcher(os.environ, name, launchers))
        found.append(mpi_library.slurm(os.environ, name, *facts.plugins()))
    return found


def _joined(name: str, fault: str) -> "Comm":
    """The ranks of this start; alone where they cannot be joined."""
    from fedmpi.comm import launch
    from fedmpi.comm.base import Serial
    from fedmpi.comm.library import family, join_ranks

    strange = launch.strange_launcher(os.environ, family(name))
    if fault or strange or not launch.launched(os.environ):
        return Serial()
    join_ranks()
    from fedmpi.comm.mpi import Mpi

    return Mpi()


def _node(out: Path, wanted: "RunSection", comm: "Comm") -> list[Finding | None]:
    """Findings on this node, for the ranks that are on it."""
    from fedmpi.cli import kernel_cache
    from fedmpi.doctor import cores, gpu, storage

    mounts = Path("/proc/mounts").read_text()
    quotas = cores.quotas("/sys/fs/cgroup", Path("/proc/self/cgroup").read_text())
    ranks, count = comm.node_size, cores.usable(_cores(comm), quotas)
    folder = out.resolve()
    folder = folder if folder.is_dir() else folder.parent
    compiled = kernel_cache.keep_kernels_on_node(dict(os.environ))
    return [
        cores.ranks_fit(ranks, count),
        cores.threads_fit(os.environ, ranks, count, wanted.threads_per_rank),
        storage.shared_memory(SHARED, facts.free(SHARED), ranks),
        storage.results(folder, folder.is_dir(), facts.writable(folder)),
        storage.locking(os.environ, str(folder), mounts),
        storage.cache(os.environ, str(compiled), mounts, facts.writable(compiled)),
        gpu.gpu(wanted.device, *facts.gpus(wanted.device), os.environ.get("CUDA_VISIBLE_DEVICES"),
                facts.text("/proc/driver/nvidia/version")),
        gpu.shared(ranks, *facts.gpu_memories(wanted.device)),
    ]


def _cores(comm: "Comm") -> int:
    """Cores that the ranks of this node may use, all together: each may be bound to its own."""
    import numpy as np

    row = np.zeros(1, [("host", "S64"), ("cores", "?", (MOST_CORES,))])
    row["host"] = os.uname().nodename
    row["cores"][0, [core for core in os.sched_getaffinity(0) if core < MOST_CORES]] = True
    rows = comm.gather_rows(row)
    return int(rows["cores"][rows["host"] == row["host"]].any(axis=0).sum())


def _wanted(config: str | None, speaks: bool) -> "RunSection":
    """The section [run] of a configuration, or the default one.

    A fault in it is told by the process that speaks; the others leave with the same exit code.
    """
    from fedmpi import config as configuration

    try:
        return configuration.read(text_of(config) if config else "", config or "").run
    except ConfigError:
        if not speaks:
            raise SystemExit(ConfigError.exit_code) from None
        raise


def _from_all_nodes(comm: "Comm", here: Sequence[Finding | None]) -> tuple[int, list[str]]:
    """Return the number of nodes, and lines on what is not well on nodes but this one.

    Every rank calls this; the first rank of each node speaks for it.
    """
    from dataclasses import replace

    import numpy as np

    from fedmpi.doctor import OK

    host = os.uname().nodename
    bad = [replace(f, value=f"{host}: {f.value}") for f in here if f and f.level != OK]
    rows = [(comm.rank, f.line().encode()) for f in bad] if comm.node_rank == 0 else []
    table = np.array(rows, [("rank", "<i4"), ("line", f"S{TEXT}")])
    nodes = int(comm.sum_array(np.array([comm.node_rank == 0], np.int64))[0])
    told = comm.gather_rows(table)
    first = int(comm.share(comm.rank))
    return nodes, [row["line"].decode(errors="replace") for row in told if row["rank"] != first]
