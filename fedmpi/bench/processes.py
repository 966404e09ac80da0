"""Start an arm of a benchmark as a separate process, on some ranks, and read its JSON."""

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
from fedmpi.doctor.cores import THREADS
from fedmpi.errors import FedmpiError

Word: TypeAlias = str | int | Path
Words: TypeAlias = Iterable[Word]
"""A command line, or part of a command line."""
TIMEOUT = 600.0  # seconds that an arm may take


@dataclass(frozen=True)
class Launch:
    """The settings with which arms are started.

    Attributes
    ----------
    python : str
        The interpreter of fedmpi.
    mpiexec : tuple of str
        Words that start ranks, to be followed by their number; empty without mpiexec.
    environ : mapping
        The environment of the command line.
    cores : int
        Processors that this process may use.
    most : int
        The most ranks that an arm may have.
    nodes : EmulatedNodes, optional
        Nodes with one rank each; without it all ranks are on this node.
    switches : tuple of str
        Switches of the interpreter: -P keeps the folder where bench is started off sys.path.
    program : tuple of str
        Words after the interpreter that start fedmpi.
    """

    python: str
    mpiexec: tuple[str, ...]
    environ: Mapping[str, str]
    cores: int
    most: int
    nodes: EmulatedNodes | None = None
    switches: tuple[str, ...] = ()
    program: tuple[str, ...] = ("-m", "fedmpi")

    @property
    def command(self) -> list[Word]:
        """Return the words that start fedmpi."""
        return [self.python, *self.switches, *self.program]

    def can(self, ranks: int) -> bool:
        """Return whether `ranks` ranks can be started."""
        return ranks == 1 or (bool(self.mpiexec) and ranks <= self.most)

    def fedmpi(self, words: Words, ranks: int = 1) -> Found:
        """Run `fedmpi WORDS --json FILE`; return the dict in FILE, with "launched_at"."""
        return self.run([*self.command, *words, "--json"], ranks)

    def run(self, words: Words, ranks: int = 1) -> Found:
        """Run `words` with the name of a JSON file for the answer, and return the answer's dict.

        "launched_at", in seconds since the epoch, is added. Raises FedmpiError with the end of the
        output if the command fails.
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
        """Run `words` on some ranks until they end; return the last lines, or raise FedmpiError."""
        command = list(map(str, words))
        environ = dict(self.environ) | dict.fromkeys(THREADS, "1")
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
