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

from fedmpi.arrays import AnyArray, Vector
from fedmpi.errors import ConfigError
from fedmpi.exchange import Coding
from fedmpi.section import Section
from fedmpi.stage import StageSetting
from fedmpi.stages.rounded import Rounded

LEVEL = 9  # of Zstandard: nearly its best compression, in little time


class Compress(Rounded, name="compress"):
    """Rounds changes within an error bound, and entropy-codes them."""

    last = True

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

    def _scales(self, largest: Vector) -> Vector:
        return (np.float32(2 * self.keys.bound) * largest).astype(np.float32)

    def _whole(self, ratio: Vector, rng: np.random.Generator) -> AnyArray:
        return np.rint(ratio).astype(np.int32)

    def _coding(self, numbers: AnyArray, scales: Vector) -> Coding:
        return Coding("stream", scales, len(stream_of(numbers)) + scales.nbytes)


def stream_of(numbers: NDArray[np.int32]) -> bytes:
    """Return the compressed bytes of int32[n] `numbers`, in zigzag coding, byte plane by plane."""
    import zstandard

    folded = ((numbers << 1) ^ (numbers >> 31)).astype("<u4")
    planes = np.ascontiguousarray(folded.view(np.uint8).reshape(-1, 4).T)
    return zstandard.ZstdCompressor(level=LEVEL).compress(planes.tobytes())
