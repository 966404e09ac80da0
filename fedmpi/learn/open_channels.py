"""The number of channels that channel gates leave open, and the multiply-adds; without torch."""

import numpy as np

from fedmpi.arrays import Reals
from fedmpi.layout import Layout
from fedmpi.plan import Gates


def open_of(gates: Gates, channels: int) -> int:
    """Return the number of a convolution's channels that stay open for a sample, at least one."""
    return max(1, round(gates.ratio * channels))


def left_by_gates(layout: Layout, gates: Gates) -> Reals:
    """Return float64[L]: the share of each layer's multiply-adds that the gates leave.

    It is r_in * r_out. In a chain, both factors count. For a layer that reads a residual stream,
    r_in is 1, because the stream is dense.
    """
    names = {layer.name for layer in layout.layers}
    left = np.ones(len(layout.layers))
    before, block = 1.0, ""
    for number, layer in enumerate(layout.layers):
        if layer.kind not in ("conv", "linear") or layer.name.endswith(".gate"):
            continue
        here = layer.name.rpartition(".")[0]
        gate = f"{layer.name}.gate" in names
        kept = open_of(gates, layer.rows) / layer.rows if gate else 1.0
        left[number] = kept * (before if here == block else 1.0)
        before, block = kept, here
    return left
