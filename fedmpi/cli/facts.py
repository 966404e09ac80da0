"""What the doctor reads from this machine: versions, launchers, GPUs, files and folders."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedmpi.doctor.mpi_library import Launchers

# Where a system has two MPIs, Debian and Intel give their launchers names of their own.
LAUNCHERS = ("mpiexec", "mpiexec.openmpi", "mpiexec.mpich", "mpiexec.hydra")


def version_of(name: str) -> str | None:
    """The version of an installed library; None if it cannot be found."""
    if not find_spec(name):
        return None
    try:
        return version(name)
    except PackageNotFoundError:
        return "of unknown version"


def launchers() -> "Launchers":
    """Each mpiexec, that of PATH first and then the one beside this Python: (path, version text).

    A program with several names is there once, with the first of them.
    """
    beside = str(Path(sys.executable).with_name("mpiexec"))
    words = [(name, folder) for folder in os.get_exec_path() for name in LAUNCHERS]
    paths = [shutil.which("mpiexec"), shutil.which(beside),
             *(shutil.which(name, path=folder) for name, folder in words)]
    programs: dict[str, str] = {}
    for path in filter(None, paths):
        programs.setdefault(os.path.realpath(path), path)
    return [(path, output(path, "--version")) for path in programs.values()]


def plugins() -> tuple[list[str] | None, str]:
    """The plug-ins of srun for MPI and the cluster's default; None without a Slurm that answers."""
    lines = output("srun", "--mpi=list").splitlines()
    if not any("MPI plugin types" in line for line in lines):
        return None, ""
    names = [line.strip() for line in lines if line[:1].isspace() and line.strip()]
    settings = output("scontrol", "show", "config").splitlines()
    default = [line.split("=")[1].strip() for line in settings if line.startswith("MpiDefault")]
    return names, default[0] if default else ""


def output(*words: str) -> str:
    """What a command prints on both streams; nothing if it cannot run or takes long."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def gpus(device: str) -> tuple[str | None, int]:
    """What torch finds, looked at only where it matters: its import takes a second."""
    if device != "cuda":
        return None, 0
    from fedmpi.learn import gpus as found

    return found.gpus()


def gpu_memories(device: str) -> tuple[Sequence[int], Sequence[str], int]:
    """Bytes and names of the GPUs, and the bytes of a rank on one."""
    if device != "cuda":
        return (), (), 0
    from fedmpi.learn.batched.device_memory import CUDA
    from fedmpi.learn.gpus import memories

    return *memories(), CUDA


def text(path: str) -> str:
    """The text of a file; empty where it does not exist."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def free(path: str) -> int | None:
    """Free bytes at `path`; None if it cannot be written."""
    if not writable(Path(path)):
        return None
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def writable(folder: Path) -> bool:
    """Say whether files can be made in a folder, or the folder itself."""
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)
