"""The choice between dense sums and sums over kept weights, for layers that keep few weights.

It is a rule on shapes and densities, so that no bit depends on a timing. Measured on one thread of
a Zen 5 core with batches of 16 to 64: at density 0.1, sums over kept weights take a half to a sixth
of the time of dense sums, weight gradients of convolutions a third, and those of linear layers 0.6
to 0.9. At 0.2, the first two still gain in layers whose kept weights fit the cache, and weight
gradients of linear layers lose. In layers of up to 65,536 weights at 0.3, sums and weight gradients
of convolutions take 0.4 to 0.95 of the time (Zen 4, AVX2 and AVX-512) and have the same bits;
weight gradients of linear layers would have other bits.
"""

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers
from fedmpi.learn.fast.step import Kernel

if TYPE_CHECKING:  # weighted.py imports this module
    from fedmpi.learn.fast.weighted import Weighted

Parts: TypeAlias = tuple[Integers, ...]
"""The arguments of `tables.mix_table`."""

_ALWAYS = 0.1  # density up to which all layers gain
_MIDDLE, _SMALL = 0.2, 0.3  # densities up to which middle and small layers gain
_LARGEST_MIDDLE, _LARGEST_SMALL = 1 << 18, 1 << 16  # most weights of these layers


def mix(mask: Flags | None, step: "Weighted", parts: Parts) -> tuple[Kernel, Integers]:
    """Return (kernel, table) of the sums of a step, over kept weights only if that is faster.

    `step` is Weighted. `mask` is uint8[P], 0 where weights are 0, or None. `parts` are the
    arguments of `tables.mix_table`.
    """
    middle = _MIDDLE if step.size <= _LARGEST_MIDDLE else _ALWAYS
    if _few(mask, step, _SMALL if step.size <= _LARGEST_SMALL else middle):
        return kernels.kept.mix, kernels.kept.mix_table(mask, *parts)
    return kernels.conv.mix, kernels.tables.mix_table(*parts)


def picks(update: Flags | None, step: "Weighted") -> bool:
    """Return True if the weight gradient is faster over only the weights in `update` uint8[P]."""
    small = step.gains_when_small and step.size <= _LARGEST_SMALL
    return _few(update, step, _SMALL if small else _ALWAYS)


def _few(mask: Flags | None, step: "Weighted", most: float) -> bool:
    if mask is None:
        return False
    size = step.size
    return bool(np.count_nonzero(mask[step.weight : step.weight + size]) <= most * size)

