"""Conversion of samples from the stored form to the form for training."""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel
from fedmpi.kernels._vector import prefetch

_AHEAD = 8  # how many images ahead of the current one to prefetch


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
        Indices of the images, each in [0, N).
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
                prefetch(stored, i)  # a client's images are scattered over the array
        for c in range(scale.size):
            row, pixels = out[n, c], images[index[n], c]
            a, b = scale[c], shift[c]
            for i in range(row.size):
                row[i] = np.float32(np.float32(np.float32(pixels[i]) * a) + b)
