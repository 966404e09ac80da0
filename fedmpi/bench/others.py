"""The other programs of `bench round`, and the words that start each on the same clients."""

from pathlib import Path
from typing import TypeAlias

import fedmpi
from fedmpi.bench.processes import Launch, Word

SCRIPTS = Path(fedmpi.__file__).resolve().parents[1] / "tests" / "bench" / "peers"
Peer: TypeAlias = tuple[str, int, list[Word] | str]
"""(name, ranks, the words that start it, or a text with the reason why it cannot be started)."""
TORCHRUN = ("-m", "torch.distributed.run", "--standalone")


def others(
    launch: Launch, ranks: int, pfl: str | None = None, flower: str | None = None
) -> list[Peer]:
    """Return a list of Peers; the words that start them must be followed by FOLDER and OUT.

    Programs are started with `ranks` processes, and some also with one. `pfl` and `flower` name the
    interpreters of their environments.
    """
    port: list[Word] = [launch.python, SCRIPTS / "port.py"]
    found: list[Peer] = [("plain torch loop", 1, [launch.python, SCRIPTS / "loop.py"])]
    found += [("mpi4py + torch", 1, port)]
    found += [("mpi4py + torch", ranks, [*launch.mpiexec, ranks, *port])]
    torchrun = (*TORCHRUN, f"--nproc_per_node={ranks}")
    words: list[Word] | str
    words = [pfl, *torchrun, SCRIPTS / "pfl_arm.py"] if pfl else _missing("--pfl")
    found += [("pfl 0.6.0", ranks, words)]
    words = [flower, SCRIPTS / "flower_arm.py", ranks] if flower else _missing("--flower")
    found += [("Flower 1.41.0", ranks, words)]
    return [(name, ranks, _fault(launch, ranks) or words) for name, ranks, words in found]


def _missing(option: str) -> str:
    return f"not installed: name the interpreter of its environment with {option}"


def _fault(launch: Launch, ranks: int) -> str:
    """Return the reason why a program cannot be started, "" if it can."""
    if not SCRIPTS.is_dir():
        return f"its script is not here: {SCRIPTS}"
    return "" if launch.can(ranks) else f"{ranks} ranks need mpiexec"
