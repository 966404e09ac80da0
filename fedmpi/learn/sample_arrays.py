"""The samples of a data set in the form that engines use: float32 or tokens, by index."""

import numpy as np
from numpy.typing import ArrayLike

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Integers, Vector


class Samples:
    """One half (train or test) of a Dataset; images are stored as bytes and normalised when taken.

    `x` is uint8[N, C, H, W] for images; other kinds are passed on unchanged. `y` is int64[N], or
    targets of another kind (losses.py). With `following`, x is text uint8[N, T], and the targets
    are the tokens that follow each of its tokens; the last is `y`. `norm` is (scale, shift),
    float32[C] each, by which images are normalised; else None.
    """

    def __init__(
        self, x: AnyArray, y: AnyArray, mean: ArrayLike | None = None,
        std: ArrayLike | None = None, following: bool = False,
    ) -> None:
        self.x, self.y, self.following = x, y, following
        self.norm: tuple[Vector, Vector] | None = None
        if x.dtype == np.uint8 and mean is not None and std is not None:
            m, s = np.asarray(mean, np.float64), np.asarray(std, np.float64)
            self.norm = (1.0 / (255.0 * s)).astype(np.float32), (-m / s).astype(np.float32)
            self._flat = x.reshape(len(x), x.shape[1], -1)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Integers) -> tuple[AnyArray, AnyArray]:
        """Return (x, y) of the samples `index` int64[n]: float32[n, ...], and the targets."""
        y = self.targets(index)
        if self.norm is None:
            return self.x[index], y
        out = np.empty((len(index), *self.x.shape[1:]), np.float32)
        flat = out.reshape(len(index), self.x.shape[1], -1)
        kernels.batch.normalise(flat, self._flat, index, *self.norm)
        return out, y

    def targets(self, index: Integers) -> AnyArray:
        """Return only the targets of the samples `index` int64[n]."""
        y = self.y[index]
        y = y.astype(np.float32 if y.dtype.kind == "f" else np.int64)
        if self.following:
            y = np.concatenate((self.x[index, 1:].astype(np.int64), y[:, None]), axis=1)
        return y
