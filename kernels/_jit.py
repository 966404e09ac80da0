"""The compiler switches that every kernel shares.

fastmath stays off: it may reorder sums, and results must be the same bits on
every rank. The cache lies where NUMBA_CACHE_DIR says; the command line points
that at node-local disk, and one rank per node fills it while the others wait.
"""

import numba

from fedmpi.kernels._cache import once_per_node

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


def kernel(function):
    """Return `function` as a kernel: compiled on first use, once on a node, and cached."""
    return once_per_node(_njit(function))
