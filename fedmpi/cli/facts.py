"""Facts that doctor reads from this machine: versions, launchers, GPUs, files and folders."""

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

# If a system has two MPIs, Debian and Intel name their launchers differently.
LAUNCHERS = ("mpiexec", "mpiexec.openmpi", "mpiexec.mpich", "mpiexec.hydra")


def version_of(name: str) -> str | None:
    """Return the version of an installed library; None if it cannot be found."""
    if not find_spec(name):
        return None
    try:
        return version(name)
    except PackageNotFoundError:
        return "of unknown version"


def launchers() -> "Launchers":
    """Return (path, version text) of each mpiexec: first on PATH, then beside this Python.

    A program with several names is listed once, under the first of them.
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
    """Return srun's MPI plug-ins, None if Slurm does not answer, and the cluster's default."""
    lines = output("srun", "--mpi=list").splitlines()
    if not any("MPI plugin types" in line for line in lines):
        return None, ""
    names = [line.strip() for line in lines if line[:1].isspace() and line.strip()]
    settings = output("scontrol", "show", "config").splitlines()
    default = [line.split("=")[1].strip() for line in settings if line.startswith("MpiDefault")]
    return names, default[0] if default else ""


def output(*words: str) -> str:
    """Return a command's output on both streams, "" if it cannot run or takes over 20 s."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def gpus(device: str) -> tuple[str | None, int]:
    """Return torch's CUDA version and number of GPUs; for "cpu" the slow import is avoided."""
    if device != "cuda":
        return None, 0
    from fedmpi.learn import gpus as found

    return found.gpus()


def gpu_memories(device: str) -> tuple[Sequence[int], Sequence[str], int]:
    """Return the bytes and names of the GPUs, and the bytes that a rank needs on one."""
    if device != "cuda":
        return (), (), 0
    from fedmpi.learn.batched.device_memory import CUDA
    from fedmpi.learn.gpus import memories

    return *memories(), CUDA


def text(path: str) -> str:
    """Return the text of a file, "" if it cannot be read."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def mounts() -> str:
    """Return the text of /proc/mounts, with a line for the root if a chroot hides it."""
    found = text("/proc/mounts")
    kind = "" if " / " in found else output("stat", "-f", "-c", "%T", "/").strip()
    known = kind and not kind.startswith("UNKNOWN")
    return f"chroot / {kind} - 0 0\n{found}" if known else found


def free(path: str) -> int | None:
    """Return the free bytes at `path`, None if it is not there or cannot be written."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    if not writable(Path(path)):
        return None
    return found.f_bavail * found.f_frsize


def writable(folder: Path) -> bool:
    """Return whether files can be created in a folder, or a missing folder itself."""
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)
