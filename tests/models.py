"""A layout small enough to work out by hand."""

import numpy as np

from fedmpi.layout import Layer, Layout, Tensor

# Layer "a": 2 rows of 3 weights and a bias each; layer "b": 3 rows of 2 weights, a bias, and a
# running mean, which is not trained.
TINY = Layout(
    tensors=(
        Tensor("a.weight", (2, 3), 0, 0, 2, True),
        Tensor("a.bias", (2,), 0, 6, 2, True),
        Tensor("b.weight", (3, 2), 1, 8, 3, True),
        Tensor("b.bias", (3,), 1, 14, 3, True),
        Tensor("b.mean", (3,), 1, 17, 3, False),
    ),
    layers=(Layer("a", "linear", 2, 6), Layer("b", "linear", 3, 6)),
)
WEIGHTS = np.linspace(-1, 1, TINY.size, dtype=np.float32)
