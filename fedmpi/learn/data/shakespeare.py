"""The next character of Shakespeare's plays, each client a role or a speaker.

The task is that of B. McMahan et al., "Communication-Efficient Learning of Deep Networks
from Decentralized Data", AISTATS 2017, in the form of LEAF (S. Caldas et al.,
arXiv:1812.01097): predict the character that follows 80 characters of one role's text.

Source "moby" (report it as "Shakespeare (Moby), per role"): the 37 plays of the Complete
Moby Shakespeare, public domain; a client is a (play, role). LEAF's file differs, since it
is made from Project Gutenberg's text: it has 1,129 roles, and this one 1,347. Names are
taken as printed, so a misprint ("LADY  CAPULET") is a role of its own.
Source "tiny": A. Karpathy's tinyshakespeare (char-rnn, 2015; public domain text); a client
is a speaker's name, and two plays may share a name, such as "First Citizen".

The first 80 % of a role's text are for training, the rest for testing; no character is in
both. A role whose text is too short for one sample of a part has no samples in it.
Characters are numbered as in LEAF's alphabet of 80; all others (tabs, one `$`) are
replaced by a space.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedmpi.arrays import Integers, Octets
from fedmpi.errors import DataError
from fedmpi.learn.data import checksums, files
from fedmpi.learn.data.dataset import Dataset

LENGTH = 80  # characters from which the next is predicted
ALPHABET = (
    "\n !\"&'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}"
)

_TOKENS = np.full(256, ALPHABET.index(" "), np.uint8)
_TOKENS[np.frombuffer(ALPHABET.encode(), np.uint8)] = np.arange(len(ALPHABET))
_SPEECH_OR_LINE = re.compile(
    r"<A NAME=speech\d+><b>(.*?)</b></a>|<A NAME=[\d.]+>(.*?)</A><br>", re.IGNORECASE
)


def shakespeare(
    root: Path | None, options: Mapping[str, Any], cache: Path | None = None
) -> Dataset:
    """Return the plays as text: x uint8[N, 80], y the next character, and groups the role.

    Groups are numbered in the order of `roles`. Reads `root`/shakespeare. At stride 1 the
    Moby plays give 4.2 million samples, which take 340 MB.
    """
    texts = list(roles(root, options["source"], cache).values())
    cuts = [len(text) * 4 // 5 for text in texts]
    train = _samples([text[:cut] for text, cut in zip(texts, cuts)], options["stride"])
    test = _samples([text[cut:] for text, cut in zip(texts, cuts)], options["stride"])
    return Dataset.of("shakespeare", "text", train[:2], test[:2], classes=len(ALPHABET),
                   groups=(train[2], test[2]))


def roles(
    root: Path | None, source: str, cache: Path | None = None
) -> dict[tuple[str, str], str]:
    """Return the text of each role as a dict of (play, role) -> str, in order of appearance.

    Every spoken line ends in a newline. In source "tiny" the play is "".
    """
    if source == "tiny":
        paths = checksums.verify("shakespeare", root, files.TINY_SHAKESPEARE, cache)
        return read_speakers(*paths.values())
    paths = checksums.verify("shakespeare", root, files.MOBY, cache)
    said: dict[tuple[str, str], str] = {}
    for path in paths.values():
        said |= {(path.parent.name, role): text for role, text in read_play(path).items()}
    return said


def read_play(path: Path) -> dict[str, str]:
    """Return role -> text of one Moby play in HTML; lines before the first speaker are left out."""
    said: dict[str, list[str]] = {}
    role = None
    for match in _SPEECH_OR_LINE.finditer(path.read_text("latin-1")):
        if match[1] is not None:
            role = match[1].strip()
        elif role is not None:
            said.setdefault(role, []).append(match[2])
    if not said:
        raise DataError(f"{path}: no speech found; it is not a play of the Moby edition")
    return {role: "\n".join(lines) + "\n" for role, lines in said.items()}


def read_speakers(path: Path) -> dict[tuple[str, str], str]:
    """Return ("", name) -> text of tinyshakespeare, whose speeches begin with a line `NAME:`."""
    said: dict[tuple[str, str], list[str]] = {}
    for speech in path.read_text("latin-1").strip("\n").split("\n\n"):
        name, colon, lines = speech.lstrip("\n").partition(":\n")
        if not colon or "\n" in name:
            if not speech.endswith(":"):
                raise DataError(f"{path}: a speech begins with {speech[:40]!r}, not with a name")
            name, lines = speech[:-1], ""
        said.setdefault(("", name), []).append(lines + "\n" if lines else "")
    return {key: "".join(parts) for key, parts in said.items()}


def _samples(texts: Sequence[str], stride: int) -> tuple[Octets, Integers, Integers]:
    """Return x uint8[N, 80], y int64[N] and the index of each sample's text, int64[N]."""
    tokens = _TOKENS[np.frombuffer("".join(texts).encode("latin-1"), np.uint8)]
    sizes = np.array([len(text) for text in texts])
    counts = np.maximum(0, (sizes - LENGTH - 1) // stride + 1)
    first = np.repeat(np.cumsum(sizes) - sizes, counts)
    step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    places = first + step * stride
    windows = np.lib.stride_tricks.sliding_window_view(tokens, LENGTH)
    groups = np.repeat(np.arange(len(texts)), counts)
    return windows[places], tokens[places + LENGTH].astype(np.int64), groups
