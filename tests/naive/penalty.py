"""The penalties in plain numpy."""

import numpy as np


def group_norm(grad, weights, starts, stops, strength):
    """Add strength * w / |w_g| to the gradient of each group."""
    for start, stop in zip(starts, stops):
        norm = np.linalg.norm(weights[start:stop].astype(np.float64))
        if norm > 1e-30:
            grad[start:stop] += np.float32(strength / norm) * weights[start:stop]
