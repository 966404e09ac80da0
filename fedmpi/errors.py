"""The errors that fedmpi raises on purpose, each with the exit code of its kind."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import date, time
from difflib import get_close_matches

_BARE = re.compile("[A-Za-z0-9_-]+")  # a key of TOML that needs no quotes
LONGEST = 800  # most characters of a line, which may quote text from elsewhere


class FedmpiError(Exception):
    """Base class of all errors. The message names the place, the value and the remedy."""

    exit_code = 1

    def __init__(self, text: str) -> None:
        super().__init__("\n".join(map(_cut, text.split("\n"))))


def _cut(line: str) -> str:
    """Return a line, its middle replaced by dots if it is too long."""
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]} ... {line[-half:]}"


class ConfigError(FedmpiError):
    """The configuration or the command line is invalid, or asks for the impossible."""

    exit_code = 2


class UnknownKeyError(ConfigError):
    """A key is unknown where it stands; there may be faults of other kinds beside it."""


class DataError(FedmpiError):
    """A data file is missing, altered, or not what its name says it is."""


class MissingDataError(DataError):
    """A file of a data set is missing; the rest of a configuration can be checked without it."""


class ResultError(FedmpiError):
    """A result file cannot be read or must not be written."""


def unwritable(path: object, error: OSError) -> ResultError:
    """Return the error for a file that cannot be written, with the system's reason."""
    missing = isinstance(error, FileNotFoundError)
    reason = "its folder does not exist" if missing else error.strerror or error
    return ResultError(f"{path}: cannot be written: {reason}; choose another place")


class DamagedError(ResultError):
    """A checkpoint is damaged, or is no checkpoint; `reason` gives the details."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; remove it to start the run again from round 0")
        self.reason = reason


class ClientError(FedmpiError):
    """One client's training failed because of its numbers.

    Users' code may raise it. The client is rejected, and the round goes on with the other clients.
    """


class AlikeError(FedmpiError):
    """An error that every rank raises, so that all ranks end in order."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class RejectedError(AlikeError):
    """Too many clients of a round were rejected, so the run stops."""


class MessageError(FedmpiError):
    """An encoded message is truncated or altered, or contradicts itself."""


def of_parser(error: Exception, text: str = "") -> str:
    """Return the message of a TOML or JSON parser's error, with a clear text for recursion.

    A TOML parser's message names a line; this line of the `text` and how to write values follow.
    """
    reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    place, lines = re.search(r"\(at line (\d+), column", reason), text.split("\n")
    if place and int(place[1]) <= len(lines):
        reason += f": {lines[int(place[1]) - 1].strip()[:80]}"
    if "Invalid value" in reason:
        reason += '; write a text as "iid", a number as 0.5, a flag as true, an array as [1, 2]'
    return reason


def counted(number: int, word: str) -> str:
    """Return a number with its noun: 1 run, 2 runs."""
    return f"{number:,} {word}" + "s" * (number != 1)


def either(words: Iterable[object]) -> str:
    """Return choices as a phrase: "a", "a or b", "a, b or c", or "none"."""
    *most, last = map(str, [*words] or ["none"])
    return f"{', '.join(most)} or {last}" if most else last


def listed(words: Sequence[object], most: int) -> str:
    """Return words separated by commas, at most the first `most` and the number of the others."""
    more = len(words) - most
    return ", ".join(map(str, words[:most])) + (f" and {more} more" if more > 0 else "")


def nearest(
    name: object, known: Iterable[str], all_of_them: str = "known", cutoff: float = 0.6
) -> str:
    """Return the end of a message on an unknown name: the nearest known name, or all of them."""
    known = list(known)
    near = get_close_matches(str(name), known, n=1, cutoff=cutoff)
    if near:
        return f"did you mean {near[0]}?"
    return f"{all_of_them}: {', '.join(known) or 'none'}"


def nearest_key(key: str, known: Iterable[str], of: str = "") -> str:
    """Return the end of a message on an unknown key; `of` is the name that decides on the keys."""
    return nearest(key, known, f"known keys with {of}" if of else "known keys", 0.5)


def typed(value: object) -> str:
    """Return a value as a user types it in TOML, with texts in '...' if possible.

    A value that TOML does not have, such as None, is shown as in Python.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.isprintable() and "'" not in value:
        return f"'{value}'"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=not value.isprintable()).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(typed, value))}]"
    if isinstance(value, dict):
        pairs = (f"{key if _BARE.fullmatch(str(key)) else typed(key)} = {typed(item)}"
                 for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    return str(value) if isinstance(value, date | time) else repr(value)
