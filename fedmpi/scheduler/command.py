"""Run a command of a batch system, and understand its answer."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from fedmpi.errors import FedmpiError

Environ: TypeAlias = Mapping[str, str]
"""The environment of the command line."""
PATIENCE = 120  # seconds
LINES = 5  # of an answer are shown at most


class RefusedError(FedmpiError):
    """The batch system did not take a command, so it has done nothing."""


def answer(words: Sequence[str], environ: Environ, without: re.Pattern[str] | None = None) -> str:
    """Return what a command prints on its standard output.

    `environ` is its environment, without the names that the pattern `without` matches. Raises
    RefusedError, or FedmpiError where the command may have been carried out.
    """
    env = {name: value for name, value in environ.items()
           if without is None or not without.match(name)}
    try:
        done = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=PATIENCE)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "not found" if missing else error.strerror or error
        raise RefusedError(f"{words[0]}: {reason}; give the same command on a machine of the "
                           "cluster, or choose another scheduler with --scheduler") from None
    except subprocess.TimeoutExpired:
        raise FedmpiError(f"{words[0]}: no answer within {PATIENCE} s; is the scheduler up?"
                          ) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        # The last lines say why; a site's own rules take several. A hint on --help says nothing.
        said = [line for line in lines if not line.startswith("Try ")][-LINES:] or lines
        # sbatch says so too where its job is queued, and only the answer was lost.
        kind = FedmpiError if "timed out" in done.stderr.lower() else RefusedError
        reason = "\n".join(said) or f"exit code {done.returncode}"
        raise kind(f"{' '.join(words)}: refused\n{reason}")
    return done.stdout


def handed_in(command: str, script: Path, text: str, pattern: str) -> str:
    """Return the job's number, the first group of `pattern`, in the answer `text` of a command."""
    found = re.fullmatch(pattern, text.strip())
    if not found:
        raise FedmpiError(f"{command} {script}: answered {text.strip()[:100]!r}, no number")
    return found[1]
