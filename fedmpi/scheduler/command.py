"""Run a command of a batch system, and read its answer."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from fedmpi.errors import FedmpiError

Environ: TypeAlias = Mapping[str, str]
"""The environment of the command line."""
PATIENCE = 120  # seconds
LINES = 5  # the most lines of an answer that are shown


class RefusedError(FedmpiError):
    """The batch system refused a command, so the command had no effect."""


class MissingError(RefusedError):
    """The machine lacks the command of a batch system."""


def answer(words: Sequence[str], environ: Environ, without: re.Pattern[str] | None = None) -> str:
    """Return what a command prints on its standard output.

    Names in `environ` that the pattern `without` matches are removed from its environment. Raises
    RefusedError, or FedmpiError if the command may have been carried out.
    """
    env = {name: value for name, value in environ.items()
           if without is None or not without.match(name)}
    try:
        done = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=PATIENCE)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "not found" if missing else error.strerror or error
        lacking = MissingError if missing else RefusedError
        raise lacking(f"{words[0]}: {reason}; give the same command on a machine of the cluster, "
                      "or choose another scheduler with --scheduler") from None
    except subprocess.TimeoutExpired:
        raise FedmpiError(f"{words[0]}: no answer within {PATIENCE} s; is the scheduler up?"
                          ) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        # The last lines give the reason, a site's rules in several lines; skip hints on --help.
        said = [line for line in lines if not line.startswith("Try ")][-LINES:] or lines
        # sbatch also times out if the job was queued and only the answer was lost.
        kind = FedmpiError if "timed out" in done.stderr.lower() else RefusedError
        reason = "\n".join(said) or f"exit code {done.returncode}"
        raise kind(f"{' '.join(words)}: refused\n{reason}")
    return done.stdout


def answer_on_job(words: Sequence[str], environ: Environ, gone: str) -> str:
    """Return what a command prints about a job; "" if the batch system does not know the job.

    It then refuses the command with a text that matches `gone`. A machine without the command has
    no jobs either. Raises FedmpiError for any other failure, which says nothing about the job.
    """
    try:
        return answer(words, environ)
    except MissingError:
        return ""
    except RefusedError as error:
        if re.search(gone, str(error)):
            return ""
        raise


def handed_in(command: str, script: Path, text: str, pattern: str) -> str:
    """Return the job's number, the first group of `pattern`, in the answer `text` of a command."""
    found = re.fullmatch(pattern, text.strip())
    if not found:
        raise FedmpiError(f"{command} {script}: answered {text.strip()[:100]!r}, which has no "
                          "number of a job")
    return found[1]
