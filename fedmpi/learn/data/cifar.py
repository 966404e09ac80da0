"""CIFAR-10: 50,000 + 10,000 colour images of 32x32 in ten classes, the "python version".

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report,
University of Toronto, 2009. No licence is stated; the authors ask to be cited.

The batches are pickles, and a pickle is a program. They are never run. Only the six known
files, identified by their sha256, are read, and in them byte marks give the positions of
the pixels and the labels.
"""

import lzma
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fedmpi.arrays import Octets
from fedmpi.errors import DataError
from fedmpi.learn.data import checksums, files
from fedmpi.learn.data.dataset import Dataset

_IMAGES = 10_000  # in each batch
_PIXELS = 3 * 32 * 32
_PIXEL_MARK = bytes.fromhex("5400c0d401")  # BINSTRING with a length of 30,720,000
_LABEL_MARK = b"labels\x71\x04\x5d\x71\x05"  # the key, then an empty list and its memo
_INT, _MARK, _APPENDS = 0x4B, 0x28, 0x65  # BININT1, and the brackets of 1,000 of them


def cifar10(
    root: Path | None, options: Mapping[str, Any], cache: Path | None = None
) -> Dataset:
    """Return CIFAR-10 from `root`/cifar-10/cifar-10-batches-py, plain or `.xz`; no options."""
    paths = checksums.verify("cifar10", root, files.CIFAR10, cache)
    with ThreadPoolExecutor() as threads:  # unpacking releases the interpreter lock
        batches = list(threads.map(read_batch, paths.values()))
    x = np.concatenate([x for x, _ in batches[:-1]])
    y = np.concatenate([y for _, y in batches[:-1]])
    return Dataset.of("cifar10", "image", (x, y), batches[-1], classes=10)


def read_batch(path: Path) -> tuple[Octets, Octets]:
    """Return x uint8[10000, 3, 32, 32] and y uint8[10000] of one batch file.

    Raises DataError if the marks or the labels are not where they must be.
    """
    try:
        with lzma.open(path) if path.suffix == ".xz" else open(path, "rb") as stream:
            content = stream.read()
    except (lzma.LZMAError, EOFError) as error:
        raise DataError(f"{path}: broken xz file ({error}); fetch it again") from None
    start = _after(path, content, _PIXEL_MARK)
    x = np.frombuffer(content, np.uint8)[start : start + _IMAGES * _PIXELS]
    if len(x) < _IMAGES * _PIXELS:
        raise DataError(f"{path}: ends inside its pixels; it is not a CIFAR-10 batch")
    return x.reshape(_IMAGES, 3, 32, 32), _labels(path, content)


def _labels(path: Path, content: bytes) -> Octets:
    """Return uint8[10000]: ten groups of 1,000 pairs (BININT1, label) in brackets."""
    start = _after(path, content, _LABEL_MARK)
    groups = np.frombuffer(content, np.uint8)[start : start + 10 * 2002]
    if len(groups) == 10 * 2002:
        groups = groups.reshape(10, 2002)
        pairs = groups[:, 1:-1].reshape(-1, 2)
        brackets = (groups[:, 0] == _MARK).all() and (groups[:, -1] == _APPENDS).all()
        if brackets and (pairs[:, 0] == _INT).all() and (pairs[:, 1] < 10).all():
            return pairs[:, 1].copy()
    raise DataError(f"{path}: its labels are not ten groups of 1,000; it is not a CIFAR-10 batch")


def _after(path: Path, content: bytes, mark: bytes) -> int:
    """Return the position after the only occurrence of `mark`."""
    place = content.find(mark)
    if place < 0 or (mark is _LABEL_MARK and content.find(mark, place + 1) >= 0):
        fault = f"the mark {mark.hex()} must occur exactly once"
        raise DataError(f"{path}: {fault}; it is not a CIFAR-10 batch")
    return place + len(mark)
