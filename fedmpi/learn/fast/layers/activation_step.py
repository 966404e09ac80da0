"""Sigmoid and Tanh."""

from dataclasses import dataclass
from typing import Any

from fedmpi import kernels
from fedmpi.arrays import Flags, Vector
from fedmpi.learn.fast.backward import Back
from fedmpi.learn.fast.frame import Frame
from fedmpi.learn.fast.step import Made, Step, Value, floor_of, takes
from fedmpi.learn.fast.walk import Chain


@takes("torch.nn.modules.activation.Sigmoid", "torch.nn.modules.activation.Tanh")
def activate(chain: Chain, part: Any, value: Value) -> Value:
    """Append a sigmoid or tanh of each number."""
    out = Value(*value.shape)
    return chain.append(Activation(value, out, sigmoid=type(part).__name__ == "Sigmoid"))


@dataclass(frozen=True, eq=False)
class Activation(Step):
    """The sigmoid of each number, or tanh."""

    sigmoid: bool = False

    def forward(
        self, frame: Frame, weights: Vector, training: bool, raw: bool, mask: Flags | None
    ) -> list[Made]:
        planes = frame.channels(self.out), frame.channels(self.source), frame.planes[self.out].size
        how = self.sigmoid, floor_of(self.out)
        return [(kernels.activation.activate, (frame.memory, *planes, *how))]

    def backward(self, back: Back) -> None:
        frame, kept = back.frame, back.of(self.out)
        fresh = back.first(self.source)
        planes = (
            frame.channels(self.out, kept),
            frame.channels(self.out, kept, gradient=True),
            frame.channels(self.source, kept, gradient=True),
            frame.planes[self.out].size,
        )
        gate = frame.gate(self.source)
        back.call(kernels.activation.activate_back, back.memory, *planes, self.sigmoid, fresh, gate)
