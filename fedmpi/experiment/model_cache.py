"""Models that earlier starts have built, kept in the user's cache, so that a start needs no torch.

The import of torch is the longest part of a start. All that the engine "kernels" takes from torch
(layout, chain of kernels, first weights) depends on the model and its keys, the shape of a sample,
the seed, the processor, the libraries and fedmpi's own code. These facts name the file, so a model
of other facts is another file. Nobody knows what a model of users' code depends on: it is built at
each start.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import fedmpi
from fedmpi.arrays import AnyArray, Vector
from fedmpi.doctor import processors
from fedmpi.experiment.portable import VARIABLES
from fedmpi.experiment.provenance import version_of
from fedmpi.learn.fast.kernel_gradients import KernelGradients
from fedmpi.learn.fast.serialise import serialised
from fedmpi.record.atomic import replacement

MOST = 256_000_000  # bytes of all files; beyond that, the least recently used files are removed
_HASH, _LENGTH = 32, 8  # bytes at the head of a file: SHA-256 of all that follows, length of text
_CODE = "learn/**/*.py", "layout.py", "rng.py"  # what builds a model


class ModelCache:
    """The place of one model in a cache folder.

    A file holds the SHA-256 of the rest, the length of the text as 8 bytes, the text, and the
    first weights as float32, little-endian. A damaged file counts as none.

    Parameters
    ----------
    folder : Path or None
        fedmpi's folder in the user's cache.
    environ : dict or None
        The environment of the command line. Without it or the folder nothing is kept.
    facts : dict
        All that the model depends on but processor, libraries and code, as JSON has it.
    """

    def __init__(
        self, folder: Path | None, environ: Mapping[str, str] | None, facts: Mapping[str, Any]
    ) -> None:
        self._path = None
        if folder is not None and environ is not None:
            text = json.dumps([facts, _surroundings(environ), _code()], sort_keys=True)
            name = hashlib.sha256(text.encode()).hexdigest()
            self._path = Path(folder, "models", f"{name}.model")

    def read(self) -> dict[str, AnyArray]:
        """Return what `serialised` gives, or an empty dict if the model is not kept."""
        if self._path is None:
            return {}
        try:
            data = self._path.read_bytes()
            os.utime(self._path)  # the latest use
        except OSError:
            return {}
        head, rest = data[:_HASH], memoryview(data)[_HASH:]
        if hashlib.sha256(rest).digest() != head:
            return {}
        end = _LENGTH + int.from_bytes(rest[:_LENGTH], "little")
        return {
            "model": np.frombuffer(rest[_LENGTH:end], np.uint8),
            "weights": np.frombuffer(rest[end:], "<f4").astype(np.float32),  # aligned
        }

    def write(self, gradients: KernelGradients, first: Vector) -> dict[str, AnyArray]:
        """Keep KernelGradients and their float32[P] `first`; return what `serialised` gives.

        A cache that cannot be written only costs time at the next start.
        """
        model = serialised(gradients, first)
        if self._path is not None:
            text = model["model"].tobytes()
            rest = len(text).to_bytes(_LENGTH, "little") + text + first.astype("<f4").tobytes()
            with suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with replacement(self._path) as part:  # a power cut may spoil it, which is seen
                    Path(part).write_bytes(hashlib.sha256(rest).digest() + rest)
                _forget(self._path.parent)
        return model


def _forget(folder: Path) -> None:
    """Remove the least recently used files, so that at most MOST bytes are left."""
    found, total = [], 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process has just removed it, or given it a name
            facts = path.stat()
            found.append((facts.st_mtime, facts.st_size, path))
    for _, size, path in sorted(found, reverse=True):
        total += size
        if total > MOST:
            path.unlink(missing_ok=True)


def _surroundings(environ: Mapping[str, str]) -> list[Any]:
    """Return the processor, the variables that choose its instructions, and the libraries."""
    lines = processors.described().splitlines()
    cpu = sorted({line for line in lines if line.startswith(("model name", "flags"))})
    held = {name: environ.get(name) for name in VARIABLES}
    return [cpu, held, [version_of(name) for name in ("torch", "numpy")]]


def _code() -> str:
    """Return the SHA-256 of the code that builds a model, in hex."""
    home, digest = Path(fedmpi.__file__).parent, hashlib.sha256()
    for path in sorted(path for pattern in _CODE for path in home.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
