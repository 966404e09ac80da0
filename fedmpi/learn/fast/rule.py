"""Which engine trains a model: a rule on shapes and registers, so that no bit depends on a timing.

The kernels fill a batch up to a multiple of 16 lanes. `fill` is the share of lanes that hold
samples. In large networks both engines are bound by arithmetic and unfilled lanes are lost; in
small ones torch is bound by everything else. Where a register holds 16 numbers (AVX-512), the
kernels stay ahead of torch in networks of any size with full lanes; where it holds 8 (AVX2), they
do up to VGG-11, and ResNet-18 goes to torch. docs/kernels.md has the tables of several processors,
from `fedmpi bench kernels --models`; there, whatever is chosen has at least 0.93 of the better
speed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedmpi.layout import Layout
from fedmpi.learn.fast.chain import chain_of
from fedmpi.learn.fast.frame import LANES
from fedmpi.learn.fast.step import Unsupported

if TYPE_CHECKING:
    from torch import nn

_NEVER = 2.0  # a fill that no batch has
# For float32 in a register: (multiply-adds of one sample, least fill) for which the kernels are
# never slower than torch, by size; the last is of all larger networks.
_LEAST_FILL = {
    16: ((1_000_000, 0.0), (5_000_000, 0.18), (200_000_000, 0.7), (float("inf"), 0.95)),
    8: ((1_000_000, 0.0), (5_000_000, 0.18), (200_000_000, 0.75), (float("inf"), _NEVER)),
}


def choose(
    module: "nn.Module", layout: Layout, input_shape: Sequence[int], batch_size: int, width: int
) -> tuple[str, str]:
    """Return ("kernels" or "torch", reason) for `engine = "auto"`.

    Parameters
    ----------
    module : torch.nn.Module
    layout : Layout
        Of the module.
    input_shape : tuple of int
        Of one sample.
    batch_size : int
        Of the clients; short last batches are not looked at.
    width : int
        float32 in a vector register: `kernels.lanes.WIDTH`. Fewer than 8 count as 8.
    """
    try:
        chain_of(module, layout, input_shape)
    except Unsupported as reason:
        return "torch", f"no kernels for this model: {reason}"
    macs = sum(layer.macs for layer in layout.layers)
    fill = batch_size / (-(-batch_size // LANES) * LANES)
    table = _LEAST_FILL[max(width, 8)]
    least = next(fill_ for size, fill_ in table if macs <= size)
    needed = f"{least:.0%} needed" if least < _NEVER else "too large for the kernels"
    shape = f"{macs} multiply-adds per sample, {fill:.0%} of lanes filled, {needed}"
    return ("kernels" if fill >= least else "torch"), f"{shape} with registers of {width}"
