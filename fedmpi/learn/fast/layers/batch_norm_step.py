"""BatchNorm1d and BatchNorm2d."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers, Vector
from fedmpi.learn.fast.backward import Back
from fedmpi.learn.fast.frame import Frame
from fedmpi.learn.fast.step import NONE, Made, Step, Unsupported, Value, floor_of, takes
from fedmpi.learn.fast.walk import Chain


@takes("torch.nn.modules.batchnorm.BatchNorm1d", "torch.nn.modules.batchnorm.BatchNorm2d")
def batch_norm(chain: Chain, part: Any, value: Value) -> Value:
    """Append a normalisation over the batch."""
    if part.weight is None or part.bias is None or part.running_mean is None:
        raise Unsupported("BatchNorm without scale and shift, or without statistics")
    tensor = chain.tensor(part, "weight")
    names = ("weight", "bias", "running_mean", "running_var")
    places = tuple(chain.tensor(part, name).start for name in names)
    joined = chain.layout.layers[tensor.layer].kind != "norm"
    out = Value(*value.shape)
    step = BatchNorm(value, out, tensor.layer, places, part.momentum, part.eps, joined)
    return chain.append(step)


@dataclass(frozen=True, eq=False)
class BatchNorm(Step):
    """BatchNorm; `places` are offsets of scale, shift, running mean and variance in the vector."""

    places: tuple[int, ...] = ()
    rate: float = 0.1
    epsilon: float = 1e-5
    joined: bool = False  # normalises the rows of the convolution or linear layer before it

    @property
    def counted(self) -> bool:
        return not (self.joined or self.out.gated)

    def reserve(self, frame: Frame) -> None:
        """Reserve the mean and variance of the batch."""
        frame.saved[self] = np.zeros((2, self.out.channels), np.float32)

    def forward(
        self, frame: Frame, weights: Vector, training: bool, raw: bool, mask: Flags | None
    ) -> list[Made]:
        channels = np.arange(self.out.channels)
        out, src = frame.channels(self.out), frame.channels(self.source)
        scale, shift, mean, variance = (place + channels for place in self.places)
        size, floor = frame.planes[self.out].size, NONE if raw else floor_of(self.out)
        planes = frame.memory, out, src, size
        if not training:
            arguments = (*planes, weights, scale, shift, mean, variance, self.epsilon, floor)
            return [(kernels.norm.apply, arguments)]
        given = (*planes, frame.mask, weights, scale, shift, frame.saved[self], self.epsilon, floor)
        return [(kernels.norm.normalise, given)]

    def needed(self, back: Back) -> Integers | None:
        """Return the channels of the output whose gradient is needed.

        If joined, rows are dropped at the layer before it. It may read more than that layer, such
        as the sum with a shortcut, and passes on what the rest needs.
        """
        return back.kept(self.source) if self.joined else super().needed(back)

    def backward(self, back: Back) -> None:
        kept, trained = back.of(self.out), self._trained(back)
        if len(kept) < self.out.channels and not self.joined:
            back.cleared(self.source)
        fresh, own = back.first(self.source), np.isin(kept, trained)
        for channels, moving in ((kept[own], True), (kept[~own], False)):
            if len(channels):
                self._pass_down(back, channels, moving, fresh)

    def _pass_down(self, back: Back, channels: Integers, trained: bool, fresh: bool) -> None:
        """Append the gradient of some channels; `trained` as for `norm.normalise_back`."""
        frame = back.frame
        planes = (
            frame.channels(self.source, channels),
            frame.channels(self.out, channels, gradient=True),
            frame.channels(self.source, channels, gradient=True),
        )
        places = self.places[0] + channels, self.places[1] + channels
        back.call(
            kernels.norm.normalise_back, back.memory, *planes, frame.planes[self.out].size,
            frame.mask, back.weights, back.grad, *places, frame.saved[self], channels,
            self.epsilon, trained, fresh, frame.gate(self.source),
        )  # fmt: skip

    def _trained(self, back: Back) -> Integers:
        """Return the channels whose scale, shift and running moments change, int64[.]."""
        rows = back.rows[self.layer]
        if self.layer < back.lowest:
            return np.zeros(0, np.int64)
        return np.arange(self.out.channels) if rows is None else rows

    def after(self, back: Back) -> None:
        """Append the update of the running moments of trained rows."""
        kept = self._trained(back)
        if not len(kept):
            return
        _, _, mean, variance = (place + kept for place in self.places)
        size = back.frame.planes[self.out].size
        arguments = mean, variance, back.frame.saved[self], kept, back.frame.mask, size
        back.call(kernels.norm.track, back.weights, *arguments, self.rate)
