"""The common base of convolutions and linear layers: sums of products of weights and planes."""

from dataclasses import dataclass

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers, Vector
from fedmpi.learn.fast.backward import Back
from fedmpi.learn.fast.frame import Frame, whole
from fedmpi.learn.fast.sparse import Parts, mix, picks
from fedmpi.learn.fast.step import NONE, Made, Step, floor_of


@dataclass(frozen=True, eq=False)
class Weighted(Step):
    """A layer with weights; `weight` and `bias` (-1 if none) are offsets in the flat vector.

    `gains_when_small` says whether a small layer gains from a gradient of only its kept weights, at
    densities at which a large layer does not (`sparse`).
    """

    weight: int = -1
    bias: int = -1

    gains_when_small = False

    @property
    def counted(self) -> bool:
        return not self.out.gated

    @property
    def taps(self) -> int:
        """Number of weights for each pair of output row and input channel."""
        return 1

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.out.channels * self.source.channels * self.taps

    def fill(self, frame: Frame) -> float:
        """Return the share of lanes that hold samples, where vectors of LANES are computed."""
        return frame.lanes / whole(frame.lanes)

    def mixed(
        self, frame: Frame, weights: Vector, parts: Parts, raw: bool, mask: Flags | None
    ) -> list[Made]:
        """Return the call of the forward pass; `parts` are the arguments of `tables.mix_table`."""
        kernel, table = mix(mask, self, parts)
        floor = NONE if raw else floor_of(self.out)
        start = int(self.bias >= 0)
        return [(kernel, (frame.memory, frame.memory, weights, table, start, floor, 0))]

    def weight_gradient(
        self, back: Back, left: Integers, kept: Integers, right: Integers, columns: Integers,
        runs: Integers, parts: Integers,
    ) -> None:
        """Append the weight gradient of `kept` rows; other arguments as for `correlate_table`."""
        size = self.source.channels * self.taps
        places = self.weight + kept * size
        tables = left, places, right, columns, runs, parts
        if picks(back.update, self):
            kernel = kernels.kept.correlate
            table = kernels.kept.correlate_table(back.update, *tables)
        else:
            kernel, table = kernels.conv.correlate, kernels.tables.correlate_table(*tables)
            back.call(kernels.batch_last.clear, back.grad, places, size)
        back.call(kernel, back.grad, back.memory, back.memory, table)
        self.bias_gradient(back, left, kept)

    def bias_gradient(self, back: Back, left: Integers, kept: Integers) -> None:
        """Append the bias gradient of `kept` rows."""
        if self.bias >= 0:
            size = back.frame.planes[self.out].size
            back.call(kernels.conv.row_sums, back.grad, self.bias + kept, back.memory, left, size)

    def pass_down(self, back: Back, parts: Parts, weights: Vector | None = None) -> None:
        """Append the gradient of the input; `parts` are the arguments of `tables.mix_table`.

        `weights` float32[.] are the weights that they index, if not those of the model.
        """
        kernel, table = mix(back.mask, self, parts)
        start = 0 if back.first(self.source) else 2
        gate = back.frame.gate(self.source)
        weights = back.weights if weights is None else weights
        back.call(kernel, back.memory, back.memory, weights, table, start, NONE, gate)

    def rows_of(self, count: int) -> Integers:
        """Return int64[O]: the offset of each row's weights, of which there are `count`."""
        return self.weight + np.arange(self.out.channels) * count
