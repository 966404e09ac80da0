"""What a layer is to the kernels: values, and a step that reads and writes them.

Each kind of step is one file in `layers`: from which module it is made, its forward and backward
kernel calls, and the memory that it needs besides. A new kind is a new file.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from fedmpi.arrays import Flags, Vector

if TYPE_CHECKING:  # these import this module
    from fedmpi.learn.fast.backward import Back
    from fedmpi.learn.fast.frame import Frame
    from fedmpi.learn.fast.walk import Chain

NONE = float("-inf")  # a threshold that no value is below

Taker: TypeAlias = Callable[["Chain", Any, "Value"], "Value"]
"""(chain, a torch module, what it reads) -> what it gives; appends its steps to the chain."""
Kernel: TypeAlias = Callable[..., object]
Made: TypeAlias = tuple[Kernel, tuple[Any, ...]]
"""A kernel and the arguments of one call."""

MODULES: dict[str, Taker] = {}
"""For each kind of torch module, the function (chain, part, value) that appends its steps.

Kinds go by their full names, since a rank that is sent its chain never imports torch.
"""
STEPS: dict[str, type["Step"]] = {}
"""The kinds of step by name."""


def takes(*kinds: str) -> Callable[[Taker], Taker]:
    """Register a function (chain, part, value) -> Value for modules of exactly these types."""

    def register(function: Taker) -> Taker:
        MODULES.update(dict.fromkeys(kinds, function))
        return function

    return register


class Unsupported(Exception):
    """The module holds something for which there are no kernels; the message says what."""


@dataclass(eq=False)
class Value:
    """What one step gives to others: channels x height x width per sample."""

    channels: int
    height: int
    width: int
    relu: bool = False  # negative values are replaced by 0 before anyone reads it
    readers: int = 0
    halo: int = 0  # zeros that are stored around it
    like: "Value | None" = None  # the value whose memory this is, if it was only reshaped


class Call(NamedTuple):
    """One kernel call, and the index of the layer it is for (-1 if none)."""

    kernel: Kernel
    arguments: tuple[Any, ...]
    layer: int


@dataclass(frozen=True, eq=False)
class Step(ABC):
    """One layer: reads `source`, writes `out`. `layer` is its index in the layout, or -1.

    Attributes
    ----------
    passes_on : bool
        Whether the gradient of the output is that of each source, unchanged.
    """

    source: Value
    out: Value
    layer: int = -1

    passes_on = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        STEPS[cls.__name__] = cls

    @property
    def counted(self) -> bool:
        """Whether the activations of the layer are this step's output."""
        return False

    @property
    def sources(self) -> tuple[Value, ...]:
        """All that is read."""
        return (self.source,)

    @abstractmethod
    def forward(
        self, frame: "Frame", weights: Vector, training: bool, raw: bool, mask: Flags | None
    ) -> list[Made]:
        """Return the calls (kernel, arguments) of the forward pass.

        Parameters
        ----------
        frame : Frame
        weights : float32[P]
        training : bool
        raw : bool
            Whether the output is measured before its ReLU, which is then left to the measuring.
        mask : uint8[P] or None
            0 where the weights are 0 whenever the calls are run.
        """

    @abstractmethod
    def backward(self, back: "Back") -> None:
        """Append the calls of the backward pass to a `backward.Back`."""

    def after(self, back: "Back") -> None:  # noqa: B027, most steps do nothing here
        """Append what is called once the gradient is complete."""

    def reserve(self, frame: "Frame") -> None:  # noqa: B027
        """Reserve what the step needs in a Frame beside its values."""

    def blank(self, frame: "Frame") -> list[tuple[int, int]]:
        """Return (place, floats) of what kernels read as 0 and never write."""
        return []


def floor_of(*values: Value) -> float:
    """The floor of what follows a ReLU, or of what is followed by one."""
    return 0.0 if any(value.relu for value in values) else NONE


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return (vertical, horizontal) of what torch takes as one number or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])
