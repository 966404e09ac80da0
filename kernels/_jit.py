"""The compiler switches that every kernel shares.

fastmath stays off: it may reorder sums, and results must be the same bits on
every rank. The cache lies where NUMBA_CACHE_DIR says; the command line points
that at node-local disk, and one rank per node fills it while the others wait.
"""

import numba
from numba import types

from fedmpi.kernels._cache import once_per_node

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


def kernel(function):
    """Return `function` as a kernel: compiled on first use, once on a node, and cached.

    A kernel that another kernel calls with constants is compiled for their types alone. numba would
    compile it for each constant as well, and for the first value of each loop variable.
    """
    made = once_per_node(_njit(function))
    if hasattr(made, "get_call_template"):  # not with NUMBA_DISABLE_JIT
        template = made.get_call_template
        made.get_call_template = lambda args, kws: template(map(types.unliteral, args), kws)
    return made
