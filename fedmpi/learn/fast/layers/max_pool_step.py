"""MaxPool2d."""

from dataclasses import dataclass, field
from typing import Any

from fedmpi import kernels
from fedmpi.arrays import Flags, Vector
from fedmpi.learn.fast.backward import Back
from fedmpi.learn.fast.frame import Frame
from fedmpi.learn.fast.geometry import Window, gather
from fedmpi.learn.fast.step import Made, Step, Unsupported, Value, floor_of, pair, takes
from fedmpi.learn.fast.walk import Chain


@takes("torch.nn.modules.pooling.MaxPool2d")
def max_pool(chain: Chain, part: Any, value: Value) -> Value:
    """Append a max pooling."""
    if part.ceil_mode or part.return_indices:
        raise Unsupported("MaxPool2d with ceil_mode or indices")
    window = Window(*map(pair, (part.kernel_size, part.stride, part.padding, part.dilation)))
    out = Value(value.channels, *window.output(value.height, value.width))
    return chain.append(MaxPool(value, out, window=window))


@dataclass(frozen=True, eq=False)
class MaxPool(Step):
    """The largest value of each window."""

    window: Window = field(kw_only=True)

    def forward(
        self, frame: Frame, weights: Vector, training: bool, raw: bool, mask: Flags | None
    ) -> list[Made]:
        _, offsets, runs = gather(self.window, frame.planes[self.out], frame.planes[self.source])
        out, src = frame.channels(self.out), frame.channels(self.source)
        floor = floor_of(self.out)
        return [(kernels.pool.largest, (frame.memory, out, src, offsets, runs, floor))]

    def backward(self, back: Back) -> None:
        frame, window = back.frame, self.window
        out, source = frame.planes[self.out], frame.planes[self.source]
        _, offsets, runs = gather(window, out, source)
        covered = tuple(k * n for k, n in zip(window.kernel, (out.height, out.width), strict=True))
        apart = window.apart and covered == (source.height, source.width)
        if not (apart and back.first(self.source)):
            apart = False
            back.cleared(self.source)
        kept = back.of(self.out)
        places = [
            frame.channels(value, kept, gradient)
            for gradient in (False, True)
            for value in (self.out, self.source)
        ]
        floor = floor_of(self.out, self.source)
        back.call(kernels.pool.largest_back, back.memory, *places, offsets, runs, floor, apart)
