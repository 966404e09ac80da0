"""fedmpi's Residual: a body, a shortcut, and the ReLU of their sum."""

from dataclasses import dataclass, field
from typing import Any

from fedmpi import kernels
from fedmpi.arrays import Flags, Vector
from fedmpi.learn.fast.backward import Back
from fedmpi.learn.fast.frame import Frame
from fedmpi.learn.fast.step import Made, Step, Unsupported, Value, floor_of, takes
from fedmpi.learn.fast.walk import Chain


@takes("fedmpi.learn.models.parts.Residual")
def residual(chain: Chain, part: Any, value: Value) -> Value:
    """Append the body, the shortcut and their sum."""
    value.readers += 1  # so that no ReLU of the body changes the input of the shortcut
    one, other = chain.walk(part.body, value), chain.walk(part.shortcut, value)
    value.readers -= 1
    if one in (value, other):
        raise Unsupported("Residual with an empty body")
    if one.shape != other.shape:
        raise Unsupported("Residual whose body and shortcut differ in shape")
    out = Value(*one.shape, relu=True)
    return chain.append(Add(one, out, other=other))


@dataclass(frozen=True, eq=False)
class Add(Step):
    """The sum of `source` and `other`."""

    other: Value = field(kw_only=True)

    passes_on = True

    @property
    def sources(self) -> tuple[Value, ...]:
        return self.source, self.other

    def forward(
        self, frame: Frame, weights: Vector, training: bool, raw: bool, mask: Flags | None
    ) -> list[Made]:
        places = (frame.place[value] for value in (self.out, self.source, self.other))
        arguments = (frame.memory, *places, frame.size(self.out), floor_of(self.out))
        return [(kernels.batch_last.add, arguments)]

    def backward(self, back: Back) -> None:
        frame, size = back.frame, back.frame.size(self.out)
        up = frame.grad[self.out]
        for value in self.sources:
            fresh = back.first(value)
            if back.wanted(value) and frame.grad[value] != up:
                down, gate = frame.grad[value], frame.gate(value)
                back.call(kernels.batch_last.pass_on, back.memory, down, up, size, fresh, gate)
