"""Conv2d."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers, Vector
from fedmpi.learn.fast.backward import Back
from fedmpi.learn.fast.frame import Frame
from fedmpi.learn.fast.geometry import Window, correlation, gather, scatter
from fedmpi.learn.fast.step import Made, Unsupported, Value, takes
from fedmpi.learn.fast.walk import Chain
from fedmpi.learn.fast.weighted import Weighted

_LONG = 2048  # lanes of a plane for which turned weights save more than they cost


@takes("torch.nn.modules.conv.Conv2d")
def conv(chain: Chain, part: Any, value: Value) -> Value:
    """Append a convolution."""
    plain = part.groups == 1 and part.padding_mode == "zeros"
    if not plain or isinstance(part.padding, str):
        raise Unsupported("Conv2d with groups, or padding other than zeros")
    window = Window(part.kernel_size, part.stride, part.padding, part.dilation)
    out = Value(part.out_channels, *window.output(value.height, value.width))
    return chain.append(Conv(value, out, *chain.own(part), window=window))


@dataclass(frozen=True, eq=False)
class Conv(Weighted):
    """A convolution."""

    window: Window = field(kw_only=True)

    gains_when_small = True

    @property
    def taps(self) -> int:
        return self.window.taps

    @property
    def halo(self) -> int:
        """Zeros around the model's input, if this step alone reads it.

        Few channels make poor columns one tap at a time; with zeros around, all taps go together.
        """
        return max(self.window.padding)

    def reserve(self, frame: Frame) -> None:
        """Convolutions share the room for turned weights."""
        if frame.planes[self.source].size >= _LONG:
            frame.share("weights", self.size)

    def forward(
        self, frame: Frame, weights: Vector, training: bool, raw: bool, mask: Flags | None
    ) -> list[Made]:
        out, source = frame.planes[self.out], frame.planes[self.source]
        numbers, offsets, runs = gather(self.window, out, source)
        columns = np.arange(self.source.channels) * self.taps
        parts = (
            frame.channels(self.out),
            self.rows_of(self.source.channels * self.taps),
            max(self.bias, 0) + np.arange(self.out.channels),
            columns,
            frame.channels(self.source),
            numbers,
            offsets,
            runs,
        )
        return self.mixed(frame, weights, parts, raw, mask)

    def backward(self, back: Back) -> None:
        frame, kept = back.frame, back.of(self.out)
        out, source = frame.planes[self.out], frame.planes[self.source]
        left = frame.channels(self.out, kept, gradient=True)
        if self.layer >= back.lowest:
            right, *tables = correlation(
                self.window, out, source, self.source.channels, self.out.channels
            )
            right = right + frame.place[self.source]
            self.weight_gradient(back, left, kept, right, *tables)
        if not back.wanted(self.source):
            return
        numbers, offsets, runs = scatter(self.window, source, out)
        inputs = back.of(self.source)
        weights, rows, channels = self._weights(back, kept, inputs)
        parts = (
            frame.channels(self.source, inputs, gradient=True),
            rows,
            inputs,
            channels,
            left,
            numbers,
            offsets,
            runs,
        )
        self.pass_down(back, parts, weights)

    def _weights(
        self, back: Back, kept: Integers, inputs: Integers
    ) -> tuple[Vector, Integers, Integers]:
        """Return weights, and where the rows and channels of the input gradient begin in them.

        For long planes and no mask they are turned, so that a row's weights are neighbours.
        """
        frame, taps = back.frame, self.taps
        rows, channels = inputs * taps, kept * self.source.channels * taps
        if back.mask is not None or frame.planes[self.source].size < _LONG:
            return back.weights, self.weight + rows, channels
        place = frame.shared["weights"]
        arguments = back.weights, self.weight + channels, rows, taps
        back.call(kernels.batch_last.turn_weights, back.memory, place, *arguments)
        rows = place + np.arange(len(inputs)) * len(kept) * taps
        return back.memory, rows, np.arange(len(kept)) * taps
