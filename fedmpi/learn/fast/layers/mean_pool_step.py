"""AvgPool2d, AdaptiveAvgPool2d(1), and fedmpi's Subsample."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers, Vector
from fedmpi.learn.fast.backward import Back
from fedmpi.learn.fast.frame import Frame
from fedmpi.learn.fast.geometry import Window, gather
from fedmpi.learn.fast.step import Made, Step, Unsupported, Value, floor_of, pair, takes
from fedmpi.learn.fast.walk import Chain


@takes("torch.nn.modules.pooling.AvgPool2d")
def mean_pool(chain: Chain, part: Any, value: Value) -> Value:
    """Append a mean pooling."""
    padded = any(pair(part.padding)) and not part.count_include_pad
    if part.ceil_mode or padded or part.divisor_override:
        raise Unsupported("AvgPool2d with ceil_mode, own divisor or count_include_pad=False")
    return _append(chain, value, Window(*map(pair, (part.kernel_size, part.stride, part.padding))))


@takes("torch.nn.modules.pooling.AdaptiveAvgPool2d")
def global_mean(chain: Chain, part: Any, value: Value) -> Value:
    """Append the mean over all positions."""
    if part.output_size not in (1, (1, 1), [1, 1]):
        raise Unsupported("AdaptiveAvgPool2d to more than one position")
    sides = value.height, value.width
    return _append(chain, value, Window(sides, sides, (0, 0)))


@takes("fedmpi.learn.models.parts.Subsample")
def subsample(chain: Chain, part: Any, value: Value) -> Value:
    """Append a subsampling to every `stride`-th position, with added channels of zeros."""
    window = Window((1, 1), (part.stride, part.stride), (0, 0))
    return _append(chain, value, window, part.more)


def _append(chain: Chain, value: Value, window: Window, more: int = 0) -> Value:
    out = Value(value.channels + more, *window.output(value.height, value.width))
    return chain.append(MeanPool(value, out, window=window, skip=more // 2))


@dataclass(frozen=True, eq=False)
class MeanPool(Step):
    """Means of windows; of `out`'s extra channels of zeros, `skip` come first, the rest last."""

    window: Window = field(kw_only=True)
    skip: int = 0

    def blank(self, frame: Frame) -> list[tuple[int, int]]:
        if self.out.channels == self.source.channels:
            return []
        return [(frame.place[self.out], frame.size(self.out))]

    def forward(
        self, frame: Frame, weights: Vector, training: bool, raw: bool, mask: Flags | None
    ) -> list[Made]:
        _, offsets, runs = gather(self.window, frame.planes[self.out], frame.planes[self.source])
        src = frame.channels(self.source)
        out = frame.channels(self.out)[self.skip : self.skip + len(src)]
        share = 1.0 / np.prod(self.window.kernel)
        arguments = frame.memory, out, src, offsets, runs, share, floor_of(self.out)
        return [(kernels.pool.mean, arguments)]

    def needed(self, back: Back) -> Integers | None:
        """Return the channels of the output that come from channels which are kept."""
        kept = back.kept(self.source)
        return None if kept is None else kept + self.skip

    def backward(self, back: Back) -> None:
        frame, kept = back.frame, back.of(self.source)
        _, offsets, runs = gather(self.window, frame.planes[self.out], frame.planes[self.source])
        back.cleared(self.source)
        up = frame.channels(self.out, kept + self.skip, gradient=True)
        down = frame.channels(self.source, kept, gradient=True)
        share, gate = 1.0 / np.prod(self.window.kernel), frame.gate(self.source)
        back.call(kernels.pool.mean_back, back.memory, up, down, offsets, runs, share, gate)
