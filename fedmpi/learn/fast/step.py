"""The kernels' view of a layer: values, and a step that reads and writes them.

Each kind of step is one file in `layers`, with the torch module from which it is made, its forward
and backward kernel calls, and the additional memory that it needs. A new kind is a new file.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from fedmpi.arrays import Flags, Integers, Vector

if TYPE_CHECKING:  # these modules import this one
    from fedmpi.learn.fast.backward import Back
    from fedmpi.learn.fast.frame import Frame
    from fedmpi.learn.fast.walk import Chain

NONE = float("-inf")  # a floor that changes no value

Taker: TypeAlias = Callable[["Chain", Any, "Value"], "Value"]
"""(chain, torch module, input value) -> output value; appends the module's steps to the chain."""
Kernel: TypeAlias = Callable[..., object]
Made: TypeAlias = tuple[Kernel, tuple[Any, ...]]
"""A kernel and the arguments of one call."""

MODULES: dict[str, Taker] = {}
"""For each kind of torch module, the function (chain, part, value) that appends its steps.

Kinds are given by their full names, because a rank that receives its chain never imports torch.
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
    """Raised if a module has a part for which there are no kernels; the message names it."""


@dataclass(eq=False)
class Value:
    """The output of one step, which others read: channels x height x width per sample."""

    channels: int
    height: int
    width: int
    relu: bool = False  # negative values are replaced by 0 before any step reads them
    readers: int = 0
    halo: int = 0  # width of the border of zeros that is stored around it
    gated: bool = False  # the product with its gates counts as the activations of its layer
    like: "Value | None" = None  # the value whose memory it shares, if it is only a reshape

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width


class Call(NamedTuple):
    """One kernel call, and the index of the layer to which it belongs (-1 if none)."""

    kernel: Kernel
    arguments: tuple[Any, ...]
    layer: int


@dataclass(frozen=True, eq=False)
class Step(ABC):
    """One layer: reads `source`, writes `out`. `layer` is its index in the layout, or -1.

    Attributes
    ----------
    passes_on : bool
        Whether the gradient of each source is that of the output, unchanged.
    reads_border : bool
        Whether the step may read a border of zeros around its source.
    """

    source: Value
    out: Value
    layer: int = -1

    passes_on = False
    reads_border = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        STEPS[cls.__name__] = cls

    @property
    def counted(self) -> bool:
        """True if this step's output is the layer's activations."""
        return False

    @property
    def sources(self) -> tuple[Value, ...]:
        """All values that the step reads."""
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
            Whether the output is measured before its ReLU; the measuring kernel then applies it.
        mask : uint8[P] or None
            0 where weights are 0 whenever the calls run.
        """

    @abstractmethod
    def backward(self, back: "Back") -> None:
        """Append the calls of the backward pass to a `backward.Back`."""

    def after(self, back: "Back") -> None:  # noqa: B027, most steps do nothing here
        """Append the calls that run once the gradient is complete."""

    def needed(self, back: "Back") -> Integers | None:
        """Return the channels of the output whose gradient is needed, int64[.], or None for all."""
        if self.layer >= 0:
            return back.rows[self.layer]
        return None if self.passes_on else back.kept(self.source)

    def reserve(self, frame: "Frame") -> None:  # noqa: B027
        """Reserve the memory of a Frame that the step needs besides its values."""

    def blank(self, frame: "Frame") -> list[tuple[int, int]]:
        """Return (offset, floats) of each block that kernels read as 0 and never write."""
        return []


def floor_of(*values: Value) -> float:
    """Return 0 if any of the values is the result of a ReLU, else -inf."""
    return 0.0 if any(value.relu for value in values) else NONE


def pair(value: Any) -> tuple[int, int]:
    """Return (vertical, horizontal) of an argument that torch takes as one number or two.

    `value` is a number or a sequence; its numbers may be of any integer type.
    """
    sides = [int(side) for side in value] if isinstance(value, Sequence) else [int(value)]
    return sides[0], sides[-1]
