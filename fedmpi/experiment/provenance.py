"""The provenance of a run: libraries, hosts, processors, job and source."""

import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import fedmpi
from fedmpi.comm.base import Comm
from fedmpi.doctor import processors
from fedmpi.doctor.processors import CPUINFO
from fedmpi.errors import ResultError, counted
from fedmpi.record.paths import Out

LIBRARIES = ("numpy", "numba", "torch", "h5py", "mpi4py", "pydantic")
COMPARED: dict[str, type[Any]] = {"digests": dict, "code": dict, "libraries": dict, "cpu": list,
                                  "instructions": list, "device": list, "schedule": list}
_HOST = np.dtype([("host", "S64"), ("core", "<i4"), ("cpu", "S64"), ("instructions", "S160"),
                  ("device", "S64")])


def provenance(
    comm: Comm, environ: Mapping[str, str], command: Sequence[str], device: str = "cpu"
) -> dict[str, Any]:
    """Return the facts of this run as a tree of plain values; collective over `comm`.

    `environ` is the environment of the command line, `command` its words, and `device` the name of
    this rank's GPU, or "cpu".
    """
    here = np.zeros(1, _HOST)
    here["host"], here["core"] = socket.gethostname(), _core()
    named = (*_processor(), device)
    here["cpu"], here["instructions"], here["device"] = (text.encode() for text in named)
    ranks = comm.gather_rows(here)
    return {
        "command": shlex.join(command),
        "python": sys.version.split()[0],
        "fedmpi": fedmpi.__version__,
        "libraries": {name: version_of(name) for name in LIBRARIES},
        "mpi": comm.library,
        "platform": platform.platform(),
        "hosts": [host.decode() for host in ranks["host"]],
        "cores": [int(core) for core in ranks["core"]],
        "cpu": [cpu.decode(errors="replace") for cpu in ranks["cpu"]],
        "instructions": [kind.decode() for kind in ranks["instructions"]],
        "device": [device.decode(errors="replace") for device in ranks["device"]],
        "slurm_job_id": environ.get("SLURM_JOB_ID", ""),
        "git_commit": commit(),
    }


def recorded_in(out: Out) -> dict[str, Any]:
    """Return the provenance in the result file `out`. Raises ResultError.

    The facts that a resumed run compares are checked to have the types that a run writes.
    """
    from fedmpi.record import reader  # imports h5py, on rank 0 alone

    with reader.open(out) as run:
        facts = run.provenance
    for name, kind in COMPARED.items():
        if not isinstance(facts.get(name, kind()), kind):
            raise ResultError(f"{out}: damaged, /provenance/{name} is {str(facts[name])[:40]!r}; "
                              "put back an unharmed copy")
    return facts


def schedules_so_far(
    out: Out, rounds: int, done: int, scheduled: bool
) -> tuple[dict[str, list[str]], str]:
    """Return (/provenance/schedule of a resumed run, a warning or "").

    If the method is `scheduled`, the first has a text for each earlier value of run.rounds under
    which rounds were run. `rounds` is run.rounds now, and `done` the number of finished rounds.
    """
    from fedmpi.record import reader  # imports h5py, on rank 0 alone

    with reader.open(out) as run:
        kept, section = run.provenance.get("schedule", []), run.config.get("run", {})
    before, note = section.get("rounds"), ""
    if scheduled and done and before != rounds:
        kept = [*kept, f"for {before} rounds up to round {done}"]
        note = (f"the method has a schedule over run.rounds, which was {before} for the first "
                f"{counted(done, 'round')} and is {rounds} from now on; this is a different "
                f"experiment from an unbroken run of {counted(rounds, 'round')}, and compare does "
                "not group the two")
    return {"schedule": kept} if kept else {}, note


@cache  # because each call would read and parse the package's metadata
def version_of(name: str) -> str:
    """Return the version of an installed package, or "absent"."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _core() -> int:
    """Return the core that this process runs on now, or -1 if the system does not tell."""
    try:
        return int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[36])
    except (OSError, ValueError, IndexError):
        return -1


def _processor() -> tuple[str, str]:
    """Return the processor's name and its instruction set."""
    text = processors.described(CPUINFO)
    return processors.model(text) or platform.processor(), processors.instructions(text)


def kinds(facts: Mapping[str, Any]) -> list[str]:
    """Return the kind of processor of each rank: its GPU, or its name and instruction set."""
    cpus = facts.get("cpu", ())
    devices = facts.get("device", ["cpu"] * len(cpus))  # results of older versions have none
    return [
        f"{cpu} ({instructions})" if device == "cpu" else device
        for cpu, instructions, device in zip(cpus, facts.get("instructions", ()), devices)
    ]


def mixture(facts: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> str:
    """Return a warning if a run mixes kinds of processors, or continues on another kind, or "".

    `facts` is the provenance of now, `before` that of the start of the run.
    """
    here = kinds(facts)
    if text := processors.differ(facts["hosts"], here):
        return ("this run mixes kinds of processors, so the last bits of its weights may differ "
                f"from those of a run on one kind: {text}")
    then = set(kinds(before or {}))
    if then and then != set(here):
        return (f"this run began on {' and '.join(sorted(then))} and continues on {here[0]}: "
                "the last bits of its weights may differ from those of a run on one kind")
    return ""


def commit() -> str:
    """Return the commit of the checkout that this code runs from, "" for an installed package."""
    here = Path(fedmpi.__file__).resolve().parents[1]
    if not (here / ".git").exists():
        return ""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()
