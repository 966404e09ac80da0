"""One pass over the batches of many clients: its request, its input and its result."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class PassRequest:
    """The settings of a pass that are the same for all clients of a chunk.

    Attributes
    ----------
    error : str
        The name of a loss.
    lowest : int
        The lowest layer that is differentiated.
    by_rows : bool
        Whether rows are dropped from the backward pass, different ones for each client.
    activations : bool
        Whether |raw output| is summed by row.
    by_labels : bool
        Whether outputs of some classes count as 0, different ones for each client.
    relevance : bool
        Whether z dL/dz of the raw outputs z is summed by row, for layers in which it does not
        follow from the weights.
    """

    error: str
    lowest: int = 0
    by_rows: bool = False
    activations: bool = False
    by_labels: bool = False
    relevance: bool = False


@dataclass(frozen=True, eq=False)
class Batches:
    """One batch for each of K clients; short batches are padded with samples that do not count.

    `x` [K, B, ...], the targets `y` [K, B, ...] and `valid` bool[K, B] are on the device. `count`
    lists the K numbers of valid samples, which come first; it is 0 for a slot without a client.
    """

    x: Tensor
    y: Tensor
    valid: Tensor
    count: Sequence[int]


@dataclass(frozen=True, eq=False)
class PassResult:
    """The result of one pass over K clients' batches.

    Attributes
    ----------
    loss : float32[K]
        Mean loss over the valid samples of each client.
    after : dict of str to float32[K, ...]
        Running statistics after the pass, by name.
    activations : dict of int to float64[K, rows], by layer
    pulls : dict of int to float32[K, rows], by layer
        Sums over samples and space of z dL/dz, z the raw outputs and L the loss.
    """

    loss: Tensor
    after: dict[str, Tensor] = field(default_factory=dict)
    activations: dict[int, Tensor] = field(default_factory=dict)
    pulls: dict[int, Tensor] = field(default_factory=dict)
