"""Conv2d."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers, Vector
from fedmpi.learn.fast.backward import Back
from fedmpi.learn.fast.frame import Frame, whole
from fedmpi.learn.fast.geometry import Window, correlation, gather, scatter
from fedmpi.learn.fast.step import Made, Unsupported, Value, pair, takes
from fedmpi.learn.fast.walk import Chain
from fedmpi.learn.fast.weighted import Weighted

_LONG = 2048  # least lanes of a plane for which reordered weights save more time than they cost


@takes("torch.nn.modules.conv.Conv2d")
def conv(chain: Chain, part: Any, value: Value) -> Value:
    """Append a convolution."""
    plain = part.groups == 1 and part.padding_mode == "zeros"
    if not plain or isinstance(part.padding, str):
        raise Unsupported("Conv2d with groups, or padding other than zeros")
    window = Window(*map(pair, (part.kernel_size, part.stride, part.padding, part.dilation)))
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
        """Width of the border of zeros around the model's input, if only this step reads it.

        With few channels, a single tap has too few columns for a tile. With the border of zeros,
        all taps are done together.
        """
        return max(self.window.padding)

    def reserve(self, frame: Frame) -> None:
        """Reserve memory for reordered weights, which convolutions share."""
        if frame.planes[self.source].size >= _LONG:
            frame.share("weights", self.size)

    def fill(self, frame: Frame) -> float:
        _, _, runs = gather(self.window, frame.planes[self.out], frame.planes[self.source])
        taps = runs[:, 4] - runs[:, 3]
        done = int(taps @ whole(runs[:, 2]))
        return int(taps @ runs[:, 2]) / done if done else 1.0

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
        """Return weights, and the offsets in them of the input gradient's rows and channels.

        For long planes and no mask, weights are reordered so that a row's weights are neighbours.
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
