"""Channel gates (fedmpi/learn/gates.py): means of the input, the gates, and the gated output."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers, Vector
from fedmpi.learn.fast.backward import Back
from fedmpi.learn.fast.frame import Frame
from fedmpi.learn.fast.layers.linear_step import Linear
from fedmpi.learn.fast.step import NONE, Made, Step, Value, floor_of, takes
from fedmpi.learn.fast.walk import Chain


@takes("fedmpi.learn.gates.Gate")
def gate(chain: Chain, part: Any, value: Value) -> Value:
    """Append the gates of a convolution, and the product of `value` with them.

    `value` is the output of the convolution, or of the normalisation that follows it.
    """
    source = chain.gated[part]
    last = chain.steps[-1]
    measured, value.gated = last.counted, True
    means = chain.append(Means(source, Value(source.channels, 1, 1), squash=part.squash))
    opened = Value(part.out_features, 1, 1, relu=True)
    opened = chain.append(Opened(means, opened, *chain.own(part), kept=part.kept))
    out = Value(*value.shape)
    return chain.append(Gated(value, out, last.layer, gates=opened, measured=measured))


@dataclass(frozen=True, eq=False)
class Means(Step):
    """The mean of each channel over its positions, or the sigmoid of the mean if `squash`."""

    squash: bool = field(kw_only=True)

    reads_border = False

    def forward(
        self, frame: Frame, weights: Vector, training: bool, raw: bool, mask: Flags | None
    ) -> list[Made]:
        source, plane = self.source, frame.planes[self.source]
        rows = np.array([plane.place(y, 0) for y in range(source.height)])
        arguments = (
            frame.memory, frame.channels(self.out), frame.channels(source), rows,
            source.width * frame.lanes, frame.lanes, self._share, self.squash,
        )  # fmt: skip
        return [(kernels.channel_gates.means, arguments)]

    def backward(self, back: Back) -> None:
        frame, kept = back.frame, back.of(self.source)
        back.call(
            kernels.channel_gates.means_back, back.memory, frame.channels(self.out, kept),
            frame.channels(self.out, kept, gradient=True),
            frame.channels(self.source, kept, gradient=True), frame.planes[self.source].size,
            frame.lanes, self._share, self.squash, back.first(self.source),
            frame.gate(self.source),
        )  # fmt: skip

    @property
    def _share(self) -> float:
        return 1.0 / (self.source.height * self.source.width)


@dataclass(frozen=True, eq=False)
class Opened(Linear):
    """The gates of each sample: a linear layer and its ReLU, of which the `kept` largest stay."""

    kept: int = field(kw_only=True)

    def forward(
        self, frame: Frame, weights: Vector, training: bool, raw: bool, mask: Flags | None
    ) -> list[Made]:
        calls = super().forward(frame, weights, training, False, mask)
        arguments = frame.memory, frame.channels(self.out), self.kept, frame.lanes
        return [*calls, (kernels.channel_gates.keep, arguments)]


@dataclass(frozen=True, eq=False)
class Gated(Step):
    """The product of `source` and `gates`; `measured` says that it is the layer's activations."""

    gates: Value = field(kw_only=True)
    measured: bool = field(kw_only=True)

    @property
    def counted(self) -> bool:
        return self.measured

    @property
    def sources(self) -> tuple[Value, ...]:
        return self.source, self.gates

    def needed(self, back: Back) -> Integers | None:
        """Return the channels that are kept in the source or in the gates."""
        one, other = (back.kept(value) for value in self.sources)
        return None if one is None or other is None else np.union1d(one, other)

    def forward(
        self, frame: Frame, weights: Vector, training: bool, raw: bool, mask: Flags | None
    ) -> list[Made]:
        places = (frame.channels(value) for value in (self.out, self.source, self.gates))
        floor = NONE if raw else floor_of(self.out)
        size = frame.planes[self.out].size
        arguments = (frame.memory, *places, size, frame.lanes, floor)
        return [(kernels.channel_gates.scale, arguments)]

    def backward(self, back: Back) -> None:
        frame, kept = back.frame, back.of(self.out)
        flags = []
        for value in self.sources:
            flags.append(np.zeros(self.out.channels, np.uint8))
            if back.wanted(value):
                flags[-1][back.of(value)] = 1
        back.call(
            kernels.channel_gates.scale_back, back.memory,
            frame.channels(self.out, kept, gradient=True), frame.channels(self.source, kept),
            frame.channels(self.source, kept, gradient=True), frame.channels(self.gates, kept),
            frame.channels(self.gates, kept, gradient=True), frame.planes[self.out].size,
            frame.lanes, *(one[kept] for one in flags),
        )  # fmt: skip
