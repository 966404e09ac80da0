"""Samples as stored to samples as trained on."""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel
from fedmpi.kernels._vector import prefetch

_AHEAD = 8  # images between the one that is read and the one that is asked for from memory


@kernel
def normalise(
    out: NDArray[np.float32], images: NDArray[np.uint8], index: NDArray[np.int64],
    scale: NDArray[np.float32], shift: NDArray[np.float32],
) -> None:
    """Gather images and normalise each channel: out = image * scale + shift.

    Parameters
    ----------
    out : float32[n, C, A], changed in place
        A is the number of pixels of a channel.
    images : uint8[N, C, A]
    index : int64[n]
        Which images, each in [0, N).
    scale, shift : float32[C]
        1 / (255 std) and -mean / std of each channel.

    Notes
    -----
    Reads 1 byte and writes 4 bytes per pixel.
    """
    stored, size = images.reshape(-1), images.shape[1] * images.shape[2]
    for n in range(index.size):
        if n + _AHEAD < index.size:
            for i in range(index[n + _AHEAD] * size, (index[n + _AHEAD] + 1) * size, 64):
                prefetch(stored, i)  # images of a client lie anywhere
        for c in range(scale.size):
            row, pixels = out[n, c], images[index[n], c]
            a, b = scale[c], shift[c]
            for i in range(row.size):
                row[i] = np.float32(np.float32(np.float32(pixels[i]) * a) + b)
