"""The verb doctor: gathers the facts of this machine, and tells what is wrong with them."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from fedmpi.errors import ConfigError
from fedmpi.text_file import text_of

SHARED = "/dev/shm"
MOST_CORES = 4096  # of a node
MOST_SECONDS = 86_400  # of trying
TEXT = 300  # characters of a finding that travel between nodes


def add_verbs(verbs):
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


def doctor(args):
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
    launchers = _launchers()
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


def _start_ranks(args):
    """Start ranks of this command, and return their exit code."""
    from fedmpi.cli import submission, sweeps

    words = [sweeps.launcher(), "-n", args.mpi, *submission.own_command(), "doctor", "--mpi",
             "--seconds", args.seconds, "-o", args.out, *([args.config] if args.config else [])]
    return subprocess.run([str(word) for word in words]).returncode


def _nodes(comm, nodes):
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


def _told(findings, speaks):
    """Print findings if this process speaks; say whether one of them is wrong."""
    findings = [finding for finding in findings if finding]
    if speaks:
        print("\n".join(finding.line() for finding in findings), flush=True)
    return any(finding.level == "wrong" for finding in findings)


def _interpreter():
    from fedmpi.doctor import WRONG, python

    first = python.python(tuple(sys.version_info[:3]), sys.executable)
    if first.level == WRONG:  # it was not made for this one: no wonder what is missing there
        return [first]
    found = {name: _version(name) for name in python.NEEDED}
    return [first, python.libraries(found, sys.executable)]


def _version(name):
    """The version of an installed library; None if it cannot be found."""
    if not find_spec(name):
        return None
    try:
        return version(name)
    except PackageNotFoundError:
        return "of unknown version"


def _launchers():
    """The mpiexec on PATH and the one beside this Python, as (path, version text)."""
    beside = str(Path(sys.executable).with_name("mpiexec"))
    paths = dict.fromkeys(filter(None, [shutil.which("mpiexec"), shutil.which(beside)]))
    return [(path, _output(path, "--version")) for path in paths]


def _mpi(name, fault, launchers):
    """Findings on library, launcher and Slurm, before any of them is used."""
    from fedmpi.doctor import mpi_library

    found = [mpi_library.library(name, fault)]
    if not fault:
        found.append(mpi_library.launcher(os.environ, name, launchers))
        found.append(mpi_library.slurm(os.environ, name, *_plugins()))
    return found


def _plugins():
    """The plug-ins of srun for MPI and the cluster's default; None without a Slurm that answers."""
    lines = _output("srun", "--mpi=list").splitlines()
    if not any("MPI plugin types" in line for line in lines):
        return None, ""
    names = [line.strip() for line in lines if line[:1].isspace() and line.strip()]
    settings = _output("scontrol", "show", "config").splitlines()
    default = [line.split("=")[1].strip() for line in settings if line.startswith("MpiDefault")]
    return names, default[0] if default else ""


def _output(*words):
    """What a command prints on both streams; nothing if it cannot run or takes long."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _joined(name, fault):
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


def _node(out, wanted, comm):
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
        storage.shared_memory(SHARED, _free(SHARED), ranks),
        storage.results(folder, folder.is_dir(), _writable(folder)),
        storage.locking(os.environ, str(folder), mounts),
        storage.cache(os.environ, str(compiled), mounts, _writable(compiled)),
        gpu.gpu(wanted.device, *_gpus(wanted.device), os.environ.get("CUDA_VISIBLE_DEVICES"),
                _text("/proc/driver/nvidia/version")),
        gpu.shared(ranks, *_gpu_memories(wanted.device)),
    ]


def _cores(comm):
    """Cores that the ranks of this node may use, all together: each may be bound to its own."""
    import numpy as np

    row = np.zeros(1, [("host", "S64"), ("cores", "?", (MOST_CORES,))])
    row["host"] = os.uname().nodename
    row["cores"][0, [core for core in os.sched_getaffinity(0) if core < MOST_CORES]] = True
    rows = comm.gather_rows(row)
    return int(rows["cores"][rows["host"] == row["host"]].any(axis=0).sum())


def _wanted(config, speaks):
    """The section [run] of a configuration, or the default one.

    A fault in it is told by the process that speaks; the others leave with the same exit code.
    """
    from fedmpi import config as configuration

    try:
        return configuration.read(text_of(config) if config else "", config).run
    except ConfigError:
        if not speaks:
            raise SystemExit(ConfigError.exit_code) from None
        raise


def _gpus(device):
    """What torch finds, looked at only where it matters: its import takes a second."""
    if device != "cuda":
        return None, 0
    from fedmpi.learn.gpus import gpus

    return gpus()


def _gpu_memories(device):
    """Bytes and names of the GPUs, and the bytes of a rank on one."""
    if device != "cuda":
        return (), (), 0
    from fedmpi.learn.batched.device_memory import CUDA
    from fedmpi.learn.gpus import memories

    return *memories(), CUDA


def _text(path):
    """The text of a file; empty where it does not exist."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _free(path):
    """Free bytes at `path`; None if it cannot be written."""
    if not _writable(Path(path)):
        return None
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _writable(folder):
    """Say whether files can be made in a folder, or the folder itself."""
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)


def _from_all_nodes(comm, here):
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
