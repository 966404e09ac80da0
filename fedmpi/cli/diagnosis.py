"""The verb doctor: gather facts on this machine, and report faults."""

import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fedmpi.cli import facts
from fedmpi.cli.words import Verbs
from fedmpi.comm import launch
from fedmpi.comm.leave import end_all_at_start
from fedmpi.doctor import WRONG, Finding
from fedmpi.errors import ConfigError
from fedmpi.text_file import text_of

if TYPE_CHECKING:  # they need libraries that may be missing
    from fedmpi.comm.base import Comm
    from fedmpi.config import RunSection
    from fedmpi.doctor.mpi_library import Launchers

SHARED, CGROUP = "/dev/shm", "/proc/self/cgroup"
MOST_SECONDS = 86_400  # the most that --seconds may ask for


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs of this module to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, doctor, "check this machine, and say how to repair each fault",
                  "fedmpi doctor --mpi 4")
    parser.add_argument("config", nargs="?", help="TOML file, to check its device and threads")
    parser.add_argument("-o", "--out", type=Path, default=Path("."),
                        help="result file or folder of the run (default: this folder)")
    parser.add_argument("--mpi", type=int, nargs="?", const=True, metavar="N",
                        help="try each collective, on N ranks started here or the ranks of srun")
    parser.add_argument("--seconds", type=float, default=60, metavar="S",
                        help="seconds that --mpi takes (60)")


def doctor(args: Namespace) -> int:
    """Check Python, MPI, Slurm, cores, memory and folders; start it in the same way as the run.

    Each line is a finding: ok, note or wrong, with a command that repairs it. The exit code
    is 1 if something is wrong.
    """
    counted = args.mpi is not None and args.mpi is not True
    if counted and args.mpi < 1:
        raise ConfigError(f"--mpi {args.mpi}: must be 1 or more")
    if not 0 < args.seconds <= MOST_SECONDS:
        raise ConfigError(f"--seconds {args.seconds:g}: must be above 0 and at most {MOST_SECONDS}")
    if counted and not launch.launched(os.environ):
        return _start_ranks(args)
    speaks = launch.rank_of(os.environ) == 0
    wrong = _print_findings(_interpreter(), speaks)
    if wrong:  # the other checks need the libraries
        end_all_at_start(os.environ, 1)  # libraries may be missing on this node only
        return 1
    from fedmpi.cli.ranks import ending_together
    from fedmpi.comm.library import library

    name, fault = library()
    launchers = facts.launchers()
    wrong |= _print_findings(_mpi(name, fault, launchers), speaks)
    comm = _joined(name, fault)
    with ending_together(comm, args.debug):
        wrong |= _together(args, comm, (name, fault, launchers))
    return int(wrong)


def _together(
    args: Namespace, comm: "Comm", library: "tuple[str, str, Launchers]"
) -> bool:
    """Print the common findings of the ranks; return whether one is wrong. Every rank calls this.

    `library` holds the name of the MPI library, the fault that prevents loading it, and the
    launchers.
    """
    from fedmpi.cli import all_nodes
    from fedmpi.doctor import mpi_library

    name, fault, launchers = library
    speaks = launch.rank_of(os.environ) == 0 and comm.rank == 0
    here = _node(args.out, _wanted(args.config, comm), comm)
    nodes, elsewhere = all_nodes.from_all_nodes(comm, here)
    joined = None if fault else mpi_library.ranks(os.environ, comm.size, nodes, name, launchers)
    wrong = _print_findings([joined, *here, *all_nodes.nodes(comm, nodes)], speaks)
    if speaks and elsewhere:
        print("\n".join(elsewhere))
    if args.mpi is not None:
        from fedmpi.doctor.traffic import traffic

        wrong |= _print_findings(traffic(comm, args.seconds), speaks)
    return wrong or any(line.startswith(WRONG) for line in elsewhere)


def _start_ranks(args: Namespace) -> int:
    """Start ranks of this command, and return their exit code."""
    from fedmpi.cli import launchers, submission

    words = [*launchers.words_for(args.mpi), *submission.own_command(), "doctor", "--mpi",
             "--seconds", args.seconds, "-o", args.out, *([args.config] if args.config else [])]
    return subprocess.run([str(word) for word in words]).returncode


def _print_findings(findings: Iterable[Finding | None], speaks: bool) -> bool:
    """Print findings if this process `speaks`; return whether one of them is wrong.

    None stands for a check that does not apply here, and is skipped.
    """
    found = [finding for finding in findings if finding]
    if speaks:
        print("\n".join(finding.line() for finding in found), flush=True)
    return any(finding.level == WRONG for finding in found)


def _interpreter() -> list[Finding]:
    from fedmpi.doctor import python

    first = python.python(tuple(sys.version_info[:3]), sys.executable)
    if first.level == WRONG:  # libraries were not installed for this Python, so do not report them
        return [first]
    found = {name: facts.version_of(name) for name in python.NEEDED}
    return [first, python.libraries(found, sys.executable)]


def _mpi(name: str, fault: str, launchers: "Launchers") -> list[Finding | None]:
    """Return Findings on library, launcher and Slurm, before any of them is used."""
    from fedmpi.doctor import mpi_library

    found: list[Finding | None] = [mpi_library.library(name, fault)]
    if not fault:
        found.append(mpi_library.launcher(os.environ, name, launchers))
        found.append(mpi_library.slurm(os.environ, name, *facts.plugins()))
    return found


def _joined(name: str, fault: str) -> "Comm":
    """Return a Comm of the ranks of this start, or Serial if they cannot be joined."""
    from fedmpi.cli.ranks import hear_interrupts
    from fedmpi.comm.base import Serial
    from fedmpi.comm.library import family, join_ranks

    strange = launch.strange_launcher(os.environ, family(name))
    if fault or strange or not launch.launched(os.environ):
        return Serial()
    join_ranks()
    hear_interrupts()
    from fedmpi.comm.mpi import Mpi

    return Mpi()


def _node(out: Path, wanted: "RunSection", comm: "Comm") -> list[Finding | None]:
    """Return Findings on this node and the ranks on it."""
    from fedmpi.cli import all_nodes, kernel_cache
    from fedmpi.doctor import cores, gpu, storage

    mounts = facts.mounts()
    quotas = cores.quotas("/sys/fs/cgroup", facts.text(CGROUP))
    ranks, count = comm.node_size, cores.usable(all_nodes.cores(comm), quotas)
    machine = cores.usable(os.cpu_count() or 1, quotas)
    folder = out.resolve()
    folder = folder if folder.is_dir() else folder.parent
    compiled = kernel_cache.keep_kernels_on_node(dict(os.environ))
    return [
        cores.ranks_fit(ranks, count),
        cores.threads_fit(os.environ, ranks, count, wanted.threads_per_rank, machine),
        storage.shared_memory(SHARED, facts.free(SHARED), ranks),
        storage.results(folder, folder.is_dir(), facts.writable(folder)),
        storage.locking(os.environ, str(folder), mounts),
        storage.cache(os.environ, str(compiled), mounts, facts.writable(compiled)),
        gpu.gpu(wanted.device, *facts.gpus(wanted.device), os.environ.get("CUDA_VISIBLE_DEVICES"),
                facts.text("/proc/driver/nvidia/version")),
        gpu.shared(ranks, *facts.gpu_memories(wanted.device)),
    ]


def _wanted(config: str | None, comm: "Comm") -> "RunSection":
    """Return the section [run] of a configuration, or its defaults; collective over `comm`.

    A fault in it is reported once. Ranks that are not joined exit with the same code.
    """
    from fedmpi import config as configuration
    from fedmpi.comm.alike import alike

    with alike(comm):
        try:
            return configuration.read(text_of(config) if config else "", config or "").run
        except ConfigError:
            if comm.size == 1 and launch.rank_of(os.environ):
                raise SystemExit(ConfigError.exit_code) from None
            raise
