"""Error-bounded compression: a value changes by at most a given share of its tensor's largest.

The steps are those of error-bounded compressors such as SZ (Di and Cappello, IPDPS 2016; for
federated learning FedSZ, Wilkins et al., IPDPSW 2024, arXiv:2312.13461): predict, quantise the
difference to whole numbers of steps of twice the bound, and entropy-code these numbers. Deviations:
the prediction is 0, since neighbouring changes are unrelated, and after a topk stage most are not
sent at all; the coder is Zstandard (extra: pip install 'fedmpi[compression]') on the bytes of the
numbers, all lowest bytes first, then the next. Messages hold this stream and a float32 step for
each tensor. A part with a value that is not finite is sent unchanged, so that the server can reject
the client; so is a part of bits. feedback = true keeps the error with the client and adds it to the
next change.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedmpi.arrays import AnyArray, Memory, Vector
from fedmpi.errors import ConfigError
from fedmpi.exchange import Coding, Job, Part, Parts
from fedmpi.section import Section
from fedmpi.stage import Stage, StageSetting

LEVEL = 9  # of Zstandard: nearly its best compression, in little time


class Compress(Stage, name="compress"):
    """Rounds changes within an error bound, and entropy-codes them."""

    resizes = last = True

    class Keys(Section):
        """The keys of a compress stage."""

        bound: float = Field(0.01, ge=1e-6, le=0.5)  # largest error over a tensor's largest value
        feedback: bool = False  # keep the error for the next change

    def __init__(self, keys: Any, setting: StageSetting) -> None:
        super().__init__(keys, setting)
        if find_spec("zstandard") is None:
            raise ConfigError(
                "stage compress: needs Zstandard; pip install 'fedmpi[compression]'"
            )

    def client(self, job: Job, parts: Parts, memory: Memory) -> tuple[Parts, Memory]:
        """Round and code every part but bits."""
        coded: dict[str, Part] = {}
        kept: dict[str, AnyArray] = {**memory} if self.keys.feedback else {}
        for name, part in parts.items():
            if part.bits:
                coded[name] = part
                continue
            held = part.support.mask() != 0
            change = part.values + memory[name] if name in memory else part.values
            change = np.where(held, change, np.float32(0))
            if not np.isfinite(change).all():
                coded[name] = part
                continue
            numbers, scales = self._numbers(change)
            sent = numbers.astype(np.float32) * self._steps(scales)
            size = len(stream_of(numbers[held])) + scales.nbytes
            coded[name] = part._replace(values=sent, coding=Coding("stream", scales, size))
            if self.keys.feedback:
                kept[name] = np.where(held, change - sent, memory.get(name, np.float32(0)))
        return coded, kept

    def _steps(self, scales: Vector) -> Vector:
        """Return float32[P], the step of each coordinate's tensor."""
        return np.repeat(scales, np.diff(self.layout.starts("tensor")))

    def _numbers(self, change: Vector) -> tuple[NDArray[np.int32], Vector]:
        """Return int32[P] whole numbers of steps, and the steps float32[T]."""
        starts = self.layout.starts("tensor")[:-1]
        largest = np.maximum.reduceat(np.abs(change), starts)
        scales = (np.float32(2 * self.keys.bound) * largest).astype(np.float32)
        steps = self._steps(scales)
        ratio = np.divide(change, steps, out=np.zeros_like(change), where=steps > 0)
        return np.rint(ratio).astype(np.int32), scales


def stream_of(numbers: NDArray[np.int32]) -> bytes:
    """Return the compressed bytes of int32[n] `numbers`, in zigzag coding, byte plane by plane."""
    import zstandard

    folded = ((numbers << 1) ^ (numbers >> 31)).astype("<u4")
    planes = np.ascontiguousarray(folded.view(np.uint8).reshape(-1, 4).T)
    return zstandard.ZstdCompressor(level=LEVEL).compress(planes.tobytes())
