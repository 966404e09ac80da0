"""Samples as stored to samples as trained on."""

import numpy as np

from fedmpi.kernels._jit import kernel


@kernel
def normalise(out, images, index, scale, shift):
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
    for n in range(index.size):
        for c in range(scale.size):
            row, pixels = out[n, c], images[index[n], c]
            a, b = scale[c], shift[c]
            for i in range(row.size):
                row[i] = np.float32(np.float32(np.float32(pixels[i]) * a) + b)
