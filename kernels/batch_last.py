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
    count, size = x.shape
    for first in range(0, size, 16):
        for n in range(count):
            for d in range(first, min(first + 16, size)):
                memory[places[d] + n] = x[n, d]
    for d in range(size):
        for n in range(count, width):
            memory[places[d] + n] = np.float32(0)


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
def add_magnitudes(totals, memory, planes, size, mask):
    """Add |x| of every plane over positions and batch: totals[c] += sum |memory[planes[c] + .]|.

    Parameters
    ----------
    totals : float64[C], changed in place
    memory : float32[.]
    planes : int64[C]
    size : int
        Lanes of a plane: positions times width.
    mask : float32[width]
        For the lanes of a position, 1 if they hold a sample and 0 if not.
    """
    for c in range(planes.size):
        total = 0.0
        for at in range(planes[c], planes[c] + size, mask.size):
            for n in range(mask.size):
                if mask[n] > 0:
                    total += np.float64(abs(memory[at + n]))
        totals[c] += total


@kernel
def rectify(memory, start, size):
    """Replace negative values of memory[start : start + size] (float32[.]) by 0; NaN stays."""
    for i in range(start, start + size):
        memory[i] = np.float32(0) if memory[i] < 0 else memory[i]


@kernel
def clear(memory, start, size):
    """Fill memory[start : start + size] (float32[.]) with 0."""
    memory[start : start + size] = np.float32(0)


@kernel
def add(memory, out, one, other, size, floor):
    """Write a sum: memory[out + i] = max(memory[one + i] + memory[other + i], floor).

    Parameters
    ----------
    memory : float32[.], changed in place
    out, one, other : int
        Places of float32[size].
    size : int
    floor : float
        0 for a ReLU, -inf for none.
    """
    least = np.float32(floor)
    for i in range(size):
        value = memory[one + i] + memory[other + i]
        memory[out + i] = least if value < least else value


@kernel
def pass_on(memory, down, up, size, fresh, gate):
    """Pass a gradient on as it is: to float32[size] at `down` from that at `up`.

    Parameters
    ----------
    memory : float32[.], changed in place
    down, up, size : int
    fresh : bool
        Whether `down` is written or added to.
    gate : int
        As in `conv.mix`.
    """
    for i in range(size):
        value = memory[up + i] if fresh else memory[down + i] + memory[up + i]
        if gate != 0:
            value = value if memory[down + gate + i] > 0 else np.float32(0)
        memory[down + i] = value
