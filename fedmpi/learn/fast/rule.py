"""The choice between engines, by a rule on shapes and registers, so that no bit depends on timings.

The kernels compute vectors of 16 lanes. `fill` is the share of lanes that hold samples, over the
multiply-adds of a forward pass. The positions of a convolution that are computed alike follow each
other, so only the last vector of a row may have lanes to spare; a vector of a linear layer holds
one number of up to 16 samples. In large networks both engines are bound by arithmetic, and unfilled
lanes are wasted. In small networks torch is bound by its overhead. With registers of 16 numbers
(AVX-512), kernels with full lanes beat torch in networks of any size; with registers of 8 (AVX2),
they do so up to VGG-11, and ResNet-18 is left to torch. docs/kernels.md has tables for several
processors, from `fedmpi bench kernels --models`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedmpi.layout import Layout
from fedmpi.learn.fast.chain import chain_of
from fedmpi.learn.fast.frame import Frame
from fedmpi.learn.fast.step import Unsupported
from fedmpi.learn.fast.weighted import Weighted

if TYPE_CHECKING:
    from torch import nn

_NEVER = 2.0  # a fill that no batch reaches
# By number of float32 in a register: (most multiply-adds of one sample, least fill from which the
# kernels are never slower than torch), by size; the last entry is for all larger networks.
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
        The layout of the module.
    input_shape : tuple of int
        The shape of one sample.
    batch_size : int
        The clients' batch size; short last batches are ignored.
    width : int
        Number of float32 in a vector register: `kernels.lanes.WIDTH`. Less than 8 counts as 8.
    """
    try:
        values, steps = chain_of(module, layout, input_shape)
    except Unsupported as reason:
        return "torch", f"no kernels for this model: {reason}"
    macs = sum(layer.macs for layer in layout.layers)
    fill = _fill(Frame(values, steps, batch_size), layout)
    table = _LEAST_FILL[max(width, 8)]
    least = next(fill_ for size, fill_ in table if macs <= size)
    needed = f"{least:.0%} needed" if least < _NEVER else "too large for the kernels"
    shape = f"{macs} multiply-adds per sample, {fill:.0%} of lanes filled, {needed}"
    return ("kernels" if fill >= least else "torch"), f"{shape} with registers of {width}"


def _fill(frame: Frame, layout: Layout) -> float:
    """Return the share of lanes that hold samples, over the multiply-adds of the forward pass."""
    done = filled = 0.0
    for step in frame.steps:
        if isinstance(step, Weighted) and step.layer >= 0:
            macs = float(layout.layers[step.layer].macs)
            done, filled = done + macs, filled + macs * step.fill(frame)
    return filled / done if done else 1.0
