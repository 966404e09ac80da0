"""What convolutions and linear layers share: sums of products of weights and planes."""

from dataclasses import dataclass

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers, Vector
from fedmpi.learn.fast.backward import Back
from fedmpi.learn.fast.frame import Frame
from fedmpi.learn.fast.sparse import Parts, mix, picks
from fedmpi.learn.fast.step import NONE, Made, Step, floor_of


@dataclass(frozen=True, eq=False)
class Weighted(Step):
    """A layer of weights: places of weight and bias (-1 if none) in the flat vector.

    `gains_when_small` says whether a small layer gains by a gradient of its kept weights alone at
    densities where a large one does not (`sparse`).
    """

    weight: int = -1
    bias: int = -1

    gains_when_small = False

    @property
    def counted(self) -> bool:
        return True

    @property
    def taps(self) -> int:
        """Weights for each pair of output row and input channel."""
        return 1

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.out.channels * self.source.channels * self.taps

    def mixed(
        self, frame: Frame, weights: Vector, parts: Parts, raw: bool, mask: Flags | None
    ) -> list[Made]:
        """Return the call of the forward pass; `parts` are those of `tables.mix_table`."""
        kernel, table = mix(mask, self, parts)
        floor = NONE if raw else floor_of(self.out)
        start = int(self.bias >= 0)
        return [(kernel, (frame.memory, frame.memory, weights, table, start, floor, 0))]

    def weight_gradient(
        self, back: Back, left: Integers, kept: Integers, right: Integers, columns: Integers,
        runs: Integers, parts: Integers,
    ) -> None:
        """Append the weight gradient of `kept` rows; the rest as for `tables.correlate_table`."""
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
        """Append the gradient of the input; `parts` are those of `tables.mix_table`.

        `weights` float32[.] is what they read, if not the weights of the model.
        """
        kernel, table = mix(back.mask, self, parts)
        start = 0 if back.first(self.source) else 2
        gate = back.frame.gate(self.source)
        weights = back.weights if weights is None else weights
        back.call(kernel, back.memory, back.memory, weights, table, start, NONE, gate)

    def rows_of(self, count: int) -> Integers:
        """Return int64[O]: the places of weights of the rows, `count` weights each."""
        return self.weight + np.arange(self.out.channels) * count
