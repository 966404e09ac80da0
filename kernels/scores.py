"""Scores by which rows, channels and coordinates are kept: larger means more important.

Sums are taken in float64 over 16 interleaved parts, in a fixed order: the same bits on every
machine, at the speed of the memory instead of that of one chain of additions.
"""

import numpy as np

from fedmpi.kernels._jit import kernel

_LANES = 16


@kernel
def magnitudes(values, out):
    """Write |values|: the score of a single coordinate.

    Parameters
    ----------
    values : float32[n]
    out : float32[n], changed in place
    """
    for i in range(out.size):
        out[i] = abs(values[i])


@kernel
def norms(values, starts, power, out):
    """Write the norm of each unit, such as a row of weights.

    Parameters
    ----------
    values : float32[P]
    starts : int64[U+1]
        Unit u is the block of coordinates from starts[u] to starts[u+1].
    power : int64
        1 for the sum of magnitudes, 2 for the root of the sum of squares.
    out : float64[U], changed in place

    Raises
    ------
    ValueError
        If `power` is neither, or `starts` does not have one entry more than `out`.

    Notes
    -----
    Filter norms as in Li et al., Pruning Filters, ICLR 2017 (arXiv:1608.08710). Reads 4
    bytes per coordinate.
    """
    if power != 1 and power != 2:
        raise ValueError("norms: power must be 1 or 2")
    if starts.size != out.size + 1:
        raise ValueError("norms: starts must have one entry more than out")
    lanes = np.empty(_LANES)
    for u in range(out.size):
        block = values[starts[u] : starts[u + 1]]
        if power == 1:
            out[u] = _sum_magnitudes(block, lanes)
        else:
            out[u] = np.sqrt(_sum_products(block, block, lanes))


@kernel
def add_activations(outputs, sums):
    """Add the magnitudes of a batch's outputs to each channel's sum.

    Parameters
    ----------
    outputs : float32[A, C, B]
        C channels; A and B are whatever lies before and behind them: (batch, channels,
        positions), or (1, channels, positions * batch) with the batch innermost.
    sums : float64[C], changed in place

    Raises
    ------
    ValueError
        If the numbers of channels differ.

    Notes
    -----
    The importance of FedSkel (Luo et al., CIKM 2021): sum of |Y[:, c]| over the forward
    passes, Y before normalisation and activation. Reads 4 bytes per output.
    """
    if outputs.shape[1] != sums.size:
        raise ValueError("add_activations: outputs and sums differ in channels")
    lanes = np.empty(_LANES)
    for a in range(outputs.shape[0]):
        for c in range(outputs.shape[1]):
            sums[c] += _sum_magnitudes(outputs[a, c], lanes)


@kernel
def add_relevance(outputs, gradients, sums):
    """Add -sum(a * dL/da) of a batch to each channel's relevance.

    Parameters
    ----------
    outputs, gradients : float32[A, C, B]
        The channels' outputs a and the gradient of the loss by them; shapes as in
        `add_activations`.
    sums : float64[C], changed in place

    Raises
    ------
    ValueError
        If shapes or numbers of channels differ.

    Notes
    -----
    Skeletonization (Mozer and Smolensky, NIPS 1988): the derivative of the error by a
    gate on the channel, at 1, with the sign that makes it the error to expect when the
    channel is removed. Reads 8 bytes per output.
    """
    if outputs.shape != gradients.shape or outputs.shape[1] != sums.size:
        raise ValueError("add_relevance: outputs, gradients and sums differ in shape")
    lanes = np.empty(_LANES)
    for a in range(outputs.shape[0]):
        for c in range(outputs.shape[1]):
            sums[c] -= _sum_products(outputs[a, c], gradients[a, c], lanes)


@kernel
def _sum_magnitudes(values, lanes):
    """Return float64: the sum of |values| (float32[n]); `lanes` is float64[16] to work in."""
    lanes[:] = 0.0
    i = 0
    while i + 64 <= values.size:
        for lane in range(_LANES):
            first = np.float64(abs(values[i + lane])) + np.float64(abs(values[i + 16 + lane]))
            last = np.float64(abs(values[i + 32 + lane])) + np.float64(abs(values[i + 48 + lane]))
            lanes[lane] += first + last
        i += 64
    for j in range(i, values.size):
        lanes[j & 15] += np.float64(abs(values[j]))
    return _fold(lanes)


@kernel
def _sum_products(a, b, lanes):
    """Return float64: the sum of a * b (float32[n] each), products exact; `lanes` as above."""
    lanes[:] = 0.0
    i = 0
    while i + 64 <= a.size:
        for lane in range(_LANES):
            p, q, r, t = i + lane, i + 16 + lane, i + 32 + lane, i + 48 + lane
            first = np.float64(a[p]) * np.float64(b[p]) + np.float64(a[q]) * np.float64(b[q])
            last = np.float64(a[r]) * np.float64(b[r]) + np.float64(a[t]) * np.float64(b[t])
            lanes[lane] += first + last
        i += 64
    for j in range(i, a.size):
        lanes[j & 15] += np.float64(a[j]) * np.float64(b[j])
    return _fold(lanes)


@kernel
def _fold(lanes):
    """Return the sum of float64[16] `lanes`, added by halves."""
    for half in (8, 4, 2, 1):
        for lane in range(half):
            lanes[lane] += lanes[lane + half]
    return lanes[0]
