"""One pass over the batches of many clients: what it is asked, reads and gives."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class PassRequest:
    """What is asked of the gradients of all clients of a chunk alike.

    Attributes
    ----------
    error : str
        The name of a loss.
    lowest : int
        The lowest layer that is differentiated.
    by_rows : bool
        Whether rows are dropped from the backward pass, those of each client its own.
    activations : bool
        Whether |raw output| is summed by row.
    by_labels : bool
        Whether outputs of some classes are taken as 0, of each client its own.
    relevance : bool
        Whether z dL/dz is summed by row, z the raw outputs, where weights do not tell it.
    """

    error: str = "cross-entropy"
    lowest: int = 0
    by_rows: bool = False
    activations: bool = False
    by_labels: bool = False
    relevance: bool = False


@dataclass(frozen=True, eq=False)
class Batches:
    """One batch for each of K clients; a short one is filled up with samples that do not count.

    `x` [K, B, ...], the targets `y` [K, B, ...] on the device, `valid` bool[K, B] there, and
    `count`, a list of K numbers of valid samples, which come first; 0 for a slot without a client.
    """

    x: Tensor
    y: Tensor
    valid: Tensor
    count: Sequence[int]


@dataclass(frozen=True, eq=False)
class PassResult:
    """What one pass over K clients' batches gave.

    Attributes
    ----------
    loss : float32[K]
        Mean over the valid samples of each client.
    after : dict of str to float32[K, ...]
        Running statistics by name, as they are after the pass.
    activations : dict of int to float64[K, rows], by layer
    pulls : dict of int to float32[K, rows], by layer
        Sums over samples and space of z dL/dz, z the raw outputs and L the loss.
    """

    loss: Tensor
    after: dict[str, Tensor] = field(default_factory=dict)
    activations: dict[int, Tensor] = field(default_factory=dict)
    pulls: dict[int, Tensor] = field(default_factory=dict)
