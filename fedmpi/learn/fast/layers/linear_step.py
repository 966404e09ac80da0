"""Linear."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers, Vector
from fedmpi.learn.fast.backward import Back
from fedmpi.learn.fast.frame import Frame, whole
from fedmpi.learn.fast.sparse import picks
from fedmpi.learn.fast.step import Made, Unsupported, Value, takes
from fedmpi.learn.fast.walk import Chain
from fedmpi.learn.fast.weighted import Weighted


@takes("torch.nn.modules.linear.Linear")
def linear(chain: Chain, part: Any, value: Value) -> Value:
    """Append a linear layer."""
    if value.shape != (part.in_features, 1, 1):
        raise Unsupported("Linear on something not flat")
    return chain.append(Linear(value, Value(part.out_features, 1, 1), *chain.own(part)))


@dataclass(frozen=True, eq=False)
class Linear(Weighted):
    """A linear layer."""

    def reserve(self, frame: Frame) -> None:
        """Reserve memory for a transposed input, which linear layers share."""
        frame.share("turned", whole(self.source.channels) * whole(frame.lanes))

    def forward(
        self, frame: Frame, weights: Vector, training: bool, raw: bool, mask: Flags | None
    ) -> list[Made]:
        inputs = np.arange(self.source.channels)
        parts = (
            frame.channels(self.out),
            self.rows_of(len(inputs)),
            max(self.bias, 0) + np.arange(self.out.channels),
            np.zeros(1, np.int64),
            np.full(1, frame.place[self.source]),
            inputs,
            inputs * frame.lanes,
            np.array([(0, 0, frame.lanes, 0, len(inputs))]),
        )
        return self.mixed(frame, weights, parts, raw, mask)

    def backward(self, back: Back) -> None:
        frame, kept, inputs = back.frame, back.of(self.out), self.source.channels
        left = frame.channels(self.out, kept, gradient=True)
        if self.layer >= back.lowest:
            self._weights(back, left, kept)
        if not back.wanted(self.source):
            return
        wanted = back.of(self.source)
        parts = (
            frame.channels(self.source, wanted, gradient=True),
            self.weight + wanted,
            wanted,
            np.zeros(1, np.int64),
            np.zeros(1, np.int64),
            kept * inputs,
            left,
            np.array([(0, 0, frame.lanes, 0, len(kept))]),
        )
        self.pass_down(back, parts)

    def _weights(self, back: Back, left: Integers, kept: Integers) -> None:
        """Append the weight gradient, with a transposed input so that a row fills registers."""
        frame, inputs, width = back.frame, self.source.channels, back.frame.lanes
        if inputs < 16 or picks(back.update, self):
            right = kernels.tables.padded(frame.channels(self.source))
            columns = kernels.tables.padded(np.arange(inputs), -1)
            parts = np.array([(0, inputs, 0, 1)])
            runs = np.array([(0, 0, width)])
            self.weight_gradient(back, left, kept, right, columns, runs, parts)
            return
        pitch, turned = whole(inputs), frame.shared["turned"]
        source = frame.place[self.source]
        back.call(kernels.batch_last.transpose, back.memory, turned, source, inputs, width, pitch)
        samples = np.arange(width)
        tables = kernels.tables.mix_table(
            self.weight + kept * inputs,
            left,
            left,
            np.zeros(1, np.int64),
            np.full(1, turned),
            samples,
            samples * pitch,
            np.array([(0, 0, inputs, 0, width)]),
        )
        back.call(kernels.conv.mix_samples, back.grad, back.memory, tables, frame.samples)
        self.bias_gradient(back, left, kept)
