"""Penalties on groups of weights, as gradients."""

import numpy as np
from numpy.typing import NDArray

from fedmpi.kernels._jit import kernel

SMALLEST = 1e-60  # square of the smallest norm that is not treated as 0


@kernel
def group_norm(
    grad: NDArray[np.float32], weights: NDArray[np.float32], starts: NDArray[np.int64],
    stops: NDArray[np.int64], strength: float,
) -> None:
    """Add the gradient of strength * sum over groups of the L2 norm: strength * w / |w_g|.

    Parameters
    ----------
    grad : float32[P], changed in place
    weights : float32[P]
    starts, stops : int64[G]
        Group g is the block from starts[g] to stops[g].
    strength : float

    Notes
    -----
    The norm is not squared, as in group lasso (Yuan and Lin, 2006) and FedDIP (Long et al.,
    ICDM 2023). A group of zeros has no gradient and is skipped. So is a group with a norm
    below 1e-30, whose scale might not fit a float32. Norms are summed in float64. Memory
    traffic: 16 bytes per coordinate; 4 FLOPs.
    """
    for g in range(starts.size):
        block, here = weights[starts[g] : stops[g]], grad[starts[g] : stops[g]]
        total = 0.0
        for i in range(block.size):
            total += np.float64(block[i]) * np.float64(block[i])
        if total > SMALLEST:
            scale = np.float32(strength / np.sqrt(total))
            for i in range(block.size):
                here[i] += scale * block[i]
