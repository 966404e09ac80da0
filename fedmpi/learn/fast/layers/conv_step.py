"""Conv2d."""

from dataclasses import dataclass

import numpy as np

from fedmpi.learn.fast.geometry import Window, correlation, gather, scatter
from fedmpi.learn.fast.step import Unsupported, Value, takes
from fedmpi.learn.fast.weighted import Weighted


@takes("torch.nn.modules.conv.Conv2d")
def conv(chain, part, value):
    """Append a convolution."""
    plain = part.groups == 1 and part.padding_mode == "zeros"
    if not plain or isinstance(part.padding, str):
        raise Unsupported("Conv2d with groups, or padding other than zeros")
    window = Window(part.kernel_size, part.stride, part.padding, part.dilation)
    out = Value(part.out_channels, *window.output(value.height, value.width))
    return chain.append(Conv(value, out, *chain.own(part), window))


@dataclass(frozen=True, eq=False)
class Conv(Weighted):
    """A convolution."""

    window: Window | None = None

    gains_when_small = True

    @property
    def taps(self):
        return self.window.taps

    @property
    def halo(self):
        """Zeros around the model's input, if this step alone reads it.

        Few channels make poor columns one tap at a time; with zeros around, all taps go together.
        """
        return max(self.window.padding)

    def forward(self, frame, weights, training, raw, mask):
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

    def backward(self, back):
        frame, kept, taps = back.frame, back.of(self.out), self.taps
        out, source = frame.planes[self.out], frame.planes[self.source]
        left = frame.channels(self.out, kept, gradient=True)
        if self.layer >= back.lowest:
            right, columns, runs, parts = correlation(
                self.window, out, source, self.source.channels, self.out.channels
            )
            right = right + frame.place[self.source]
            self.weight_gradient(back, left, kept, right, columns, runs, parts)
        if not back.wanted(self.source):
            return
        numbers, offsets, runs = scatter(self.window, source, out)
        inputs = back.of(self.source)
        parts = (
            frame.channels(self.source, inputs, gradient=True),
            self.weight + inputs * taps,
            inputs,
            kept * self.source.channels * taps,
            left,
            numbers,
            offsets,
            runs,
        )
        self.pass_down(back, parts)
