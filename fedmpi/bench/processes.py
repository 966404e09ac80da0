"""Start one arm of a benchmark as a process of its own, on some ranks, and read its JSON."""

import json
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from fedmpi.bench.emulated_nodes import EmulatedNodes
from fedmpi.bench.measure import Found
from fedmpi.errors import FedmpiError

Word: TypeAlias = str | int | Path
Words: TypeAlias = Iterable[Word]
"""A command line, or a part of it."""
TIMEOUT = 600.0  # seconds that an arm may take
ONE_THREAD = ("OMP", "OPENBLAS", "MKL", "NUMBA")


@dataclass(frozen=True)
class Launch:
    """How arms are started here.

    Attributes
    ----------
    python : str
        The interpreter of fedmpi.
    mpiexec : tuple of str
        Words that start ranks, to be followed by their number; empty if there are none.
    environ : mapping
        The environment of the command line.
    cores : int
        Processors that this process may use.
    most : int
        Ranks that an arm may get.
    nodes : EmulatedNodes, optional
        Where ranks are started, one on each; without it all are on this node.
    switches : tuple of str
        Those of the interpreter: -P keeps the folder where bench is started off its path.
    program : tuple of str
        Words behind the interpreter that start fedmpi.
    """

    python: str
    mpiexec: tuple[str, ...]
    environ: Mapping[str, str]
    cores: int
    most: int
    nodes: EmulatedNodes | None = None
    switches: tuple[str, ...] = ()
    program: tuple[str, ...] = ("-m", "fedmpi")

    def can(self, ranks: int) -> bool:
        """Say whether that many ranks can be started."""
        return ranks == 1 or (bool(self.mpiexec) and ranks <= self.most)

    def fedmpi(self, words: Words, ranks: int = 1) -> Found:
        """Run `fedmpi WORDS --json FILE`; return what it wrote and `launched_at`."""
        return self.run([self.python, *self.switches, *self.program, *words, "--json"], ranks)

    def run(self, words: Words, ranks: int = 1) -> Found:
        """Run `words` and the name of a file for the answer, on some ranks; return it as a dict.

        "launched_at", seconds since the epoch, is added. Raises FedmpiError with the end of
        what it wrote if it fails.
        """
        with TemporaryDirectory(prefix="fedmpi-bench-") as folder:
            out = Path(folder, "out.json")
            command = [*words, out]
            launched_at = time.time()
            text = self.finish(command, ranks)
            try:
                found = json.loads(out.read_text())
            except (OSError, ValueError):
                shown = " ".join(map(str, command))
                raise FedmpiError(f"bench: {shown}: left no result\n{text}") from None
        return dict(found) | {"launched_at": launched_at}

    def finish(self, words: Words, ranks: int = 1) -> str:
        """Run `words` to their end on some ranks; return the last lines, or raise FedmpiError."""
        command = list(map(str, words))
        environ = dict(self.environ) | {f"{name}_NUM_THREADS": "1" for name in ONE_THREAD}
        if ranks > 1 and self.nodes is not None:
            command = self.nodes.launch(self.mpiexec, command)
            environ |= self.nodes.environ
        elif ranks > 1:
            command = [*self.mpiexec, str(ranks), *command]
        try:
            done = subprocess.run(
                command, env=environ, capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FedmpiError(f"bench: {error}") from None
        text = "\n".join((done.stdout + done.stderr).strip().splitlines()[-4:])
        if done.returncode:
            raise FedmpiError(f"bench: {' '.join(command)}: exit code {done.returncode}\n{text}")
        return text
