"""GroupNorm and LayerNorm."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Flags, Integers, Vector
from fedmpi.learn.fast.backward import Back
from fedmpi.learn.fast.frame import Frame
from fedmpi.learn.fast.step import NONE, Made, Step, Unsupported, Value, floor_of, takes
from fedmpi.learn.fast.walk import Chain


@takes("torch.nn.modules.normalization.GroupNorm")
def group_norm(chain: Chain, part: Any, value: Value) -> Value:
    """Append a normalisation of each sample over groups of channels."""
    if part.weight is None or part.bias is None:
        raise Unsupported("GroupNorm without scale and shift")
    return _append(chain, part, value, part.num_groups, split=False)


@takes("torch.nn.modules.normalization.LayerNorm")
def layer_norm(chain: Chain, part: Any, value: Value) -> Value:
    """Append a normalisation of each sample over all its values."""
    flat = value.height * value.width == 1 and part.normalized_shape == (value.channels,)
    if part.bias is None or not (flat or part.normalized_shape == value.shape):
        raise Unsupported("LayerNorm of a part of a sample, or without scale and shift")
    return _append(chain, part, value, 1, split=True)


def _append(chain: Chain, part: Any, value: Value, groups: int, split: bool) -> Value:
    layer, scale, shift = chain.own(part)
    out = Value(*value.shape)
    return chain.append(GroupNorm(value, out, layer, scale, shift, groups, part.eps, split))


@dataclass(frozen=True, eq=False)
class GroupNorm(Step):
    """GroupNorm or LayerNorm; `scale` and `shift` are offsets in the flat vector.

    If `split`, each position of a channel has its own scale and shift.
    """

    scale: int = -1
    shift: int = -1
    groups: int = 1
    epsilon: float = 1e-5
    split: bool = False

    @property
    def counted(self) -> bool:
        return True

    def reserve(self, frame: Frame) -> None:
        """Reserve the mean and 1 / standard deviation of each group and sample."""
        frame.saved[self] = np.zeros((2, self.groups, frame.lanes), np.float32)

    def forward(
        self, frame: Frame, weights: Vector, training: bool, raw: bool, mask: Flags | None
    ) -> list[Made]:
        out, src = self._planes(frame, self.out), self._planes(frame, self.source)
        floor = NONE if raw else floor_of(self.out)
        arguments = weights, *self._places(), frame.saved[self], self.epsilon, floor
        shape = self._size(frame), frame.lanes, self.groups
        return [(kernels.groups.normalise, (frame.memory, out, src, *shape, *arguments))]

    def backward(self, back: Back) -> None:
        frame, wanted = back.frame, np.zeros(self.out.channels, np.uint8)
        kept = wanted.copy()
        kept[back.of(self.out)] = 1
        if back.wanted(self.source):
            wanted[back.of(self.source)] = 1
        planes = (
            self._planes(frame, self.source),
            self._planes(frame, self.out, gradient=True),
            self._planes(frame, self.source, gradient=True),
        )
        each = self._positions
        back.call(
            kernels.groups.normalise_back, back.memory, *planes, self._size(frame), frame.lanes,
            self.groups, back.weights, back.grad, *self._places(), frame.saved[self],
            np.repeat(kept, each), np.repeat(wanted, each), self.layer >= back.lowest,
            back.first(self.source), frame.gate(self.source),
        )  # fmt: skip

    @property
    def _positions(self) -> int:
        """Number of planes into which a channel is split."""
        return self.out.height * self.out.width if self.split else 1

    def _size(self, frame: Frame) -> int:
        """Return the number of lanes of a plane."""
        return frame.planes[self.out].size // self._positions

    def _places(self) -> tuple[Integers, Integers]:
        """Return the offsets of scale and shift, int64[planes] each."""
        number = np.arange(self.out.channels * self._positions)
        return self.scale + number, self.shift + number

    def _planes(self, frame: Frame, value: Value, gradient: bool = False) -> Integers:
        """Return the offsets of a value's planes, int64[planes]."""
        at = np.arange(self._positions) * frame.lanes
        return (frame.channels(value, gradient=gradient)[:, None] + at).reshape(-1)
