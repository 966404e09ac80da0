"""A cache, in the user's cache folder, of models that earlier starts built, to save torch's import.

The import of torch is the longest part of a start. The parts that the engine "kernels" takes from
torch (layout, chain of kernels, first weights) depend on the model and its keys, the shape of a
sample, the seed, the processor, the libraries and fedmpi's own code. The name of a file is a hash
of these facts, so other facts give another file. The dependencies of models from users' code are
unknown; these models are built at each start.
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
    """The file of one model in a cache folder.

    The file holds the SHA-256 of all that follows, the length of the text as 8 bytes, the text, and
    the first weights as float32, little-endian. A damaged file is treated as missing.

    Parameters
    ----------
    folder : Path or None
        fedmpi's folder in the user's cache.
    environ : dict or None
        The environment of the command line. Without environment or folder nothing is cached.
    facts : dict
        The facts that the model depends on, apart from processor, libraries and code, as JSON
        values.
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
        """Return the cached arrays of `serialised`, or an empty dict if there are none."""
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
        """Cache KernelGradients and their weights float32[P] `first`; return `serialised`'s arrays.

        Errors are ignored: a cache that cannot be written only costs time at the next start.
        """
        model = serialised(gradients, first)
        if self._path is not None:
            text = model["model"].tobytes()
            rest = len(text).to_bytes(_LENGTH, "little") + text + first.astype("<f4").tobytes()
            with suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with replacement(self._path) as part:  # the hash detects damage by a power cut
                    Path(part).write_bytes(hashlib.sha256(rest).digest() + rest)
                _forget(self._path.parent)
        return model


def _forget(folder: Path) -> None:
    """Remove the least recently used files, so that at most MOST bytes are left."""
    found, total = [], 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process has just removed or renamed it
            facts = path.stat()
            found.append((facts.st_mtime, facts.st_size, path))
    for _, size, path in sorted(found, reverse=True):
        total += size
        if total > MOST:
            path.unlink(missing_ok=True)


def _surroundings(environ: Mapping[str, str]) -> list[Any]:
    """Return the processor, the variables that choose its instructions, and the libraries."""
    cpu = processors.lines_for_code(processors.described())
    held = {name: environ.get(name) for name in VARIABLES}
    return [cpu, held, [version_of(name) for name in ("torch", "numpy")]]


def _code() -> str:
    """Return the SHA-256 of the code that builds a model, in hex."""
    home, digest = Path(fedmpi.__file__).parent, hashlib.sha256()
    for path in sorted(path for pattern in _CODE for path in home.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
