"""Scheduling of work on ranks: the longest piece first, to the rank that is free first."""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel


@kernel
def share_out(
    order: NDArray[np.int64], costs: NDArray[np.float64], pace: NDArray[np.float64],
    ranks: NDArray[np.int64],
) -> None:
    """Write the rank of each piece of work into `ranks`, int64[n].

    Longest processing time first (Graham, SIAM J. Appl. Math. 1969) takes at most 4/3 - 1/(3 R)
    times the shortest possible time for R ranks of equal pace. Of ranks that are free at the same
    time the lowest is chosen, so the result does not depend on how the heap is built.

    Parameters
    ----------
    order : int64[n]
        Indices of the pieces in the order in which they are assigned, the longest first.
    costs : float64[n]
    pace : float64[R]
        Seconds that each rank takes for one unit of cost.
    ranks : int64[n], changed in place

    Notes
    -----
    n log R steps on a heap of 16 R bytes.
    """
    free, heap = np.zeros(len(pace)), np.arange(len(pace))
    for piece in order:
        rank = heap[0]
        ranks[piece] = rank
        seconds, place = free[0] + costs[piece] * pace[rank], 0
        while True:
            child = 2 * place + 1
            if child + 1 < len(heap) and _before(free, heap, child + 1, child):
                child += 1
            if child >= len(heap) or seconds < free[child]:
                break
            if seconds == free[child] and rank < heap[child]:
                break
            free[place], heap[place] = free[child], heap[child]
            place = child
        free[place], heap[place] = seconds, rank


@kernel
def _before(free: NDArray[np.float64], heap: NDArray[np.int64], a: int, b: int) -> bool:
    """Return True if the rank at heap position `a` comes before the rank at `b`."""
    sooner: bool = free[a] < free[b] or (free[a] == free[b] and heap[a] < heap[b])
    return sooner
