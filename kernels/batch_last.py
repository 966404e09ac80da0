"""Into the layout with the batch innermost, and what is done there element by element."""

import numpy as np

from fedmpi.kernels._jit import kernel


@kernel
def enter(memory, places, x, width):
    """Copy a batch: memory[places[d] + n] = x[n, d], and 0 for N <= n < width.

    Parameters
    ----------
    memory : float32[.], changed in place
    places : int64[D]
    x : float32[N, D]
    width : int
        Lanes of a position, at least N.
    """
    count = x.shape[0]
    for d in range(places.size):
        at = places[d]
        for n in range(count):
            memory[at + n] = x[n, d]
        for n in range(count, width):
            memory[at + n] = np.float32(0)


@kernel
def transpose(memory, out, src, rows, width, pitch):
    """Turn [rows, width] into [width, rows]: memory[out + n pitch + i] = memory[src + i width + n].

    Parameters
    ----------
    memory : float32[.], changed in place
    out, src : int
        Places that do not overlap.
    rows, width, pitch : int
        pitch >= rows.
    """
    for n in range(width):
        for i in range(rows):
            memory[out + n * pitch + i] = memory[src + i * width + n]


@kernel
def add_magnitudes(totals, memory, planes, size, width, count):
    """Add |x| of every plane over positions and batch: totals[c] += sum |memory[planes[c] + .]|.

    Parameters
    ----------
    totals : float64[C], changed in place
    memory : float32[.]
    planes : int64[C]
    size : int
        Lanes of a plane: positions times `width`.
    width, count : int
        Lanes of a position, and how many of them are samples.
    """
    for c in range(planes.size):
        total = 0.0
        for at in range(planes[c], planes[c] + size, width):
            for n in range(count):
                total += np.float64(abs(memory[at + n]))
        totals[c] += total


@kernel
def rectify(memory, start, size):
    """Replace negative values of memory[start : start + size] by 0; NaN stays."""
    for i in range(start, start + size):
        memory[i] = np.float32(0) if memory[i] < 0 else memory[i]


@kernel
def clear(memory, start, size):
    """Fill memory[start : start + size] with 0."""
    memory[start : start + size] = np.float32(0)
