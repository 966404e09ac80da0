"""The shape of a model: one flat float32 vector, cut into layers, tensors and rows.

Every tensor is contiguous, every layer is a run of consecutive tensors, and a row (an
output channel or unit) is a contiguous block of each tensor of its layer. So any part that
a client may hold, train or send is a set of contiguous *units* of one level:

    model > layer > tensor > row > coordinate
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np

from fedmpi.arrays import Bools, Flags, Integers

DIGEST = 16  # bytes of the hash of a support
LEVELS = ("model", "layer", "tensor", "row", "coordinate")
MOST = 2**32 - 1  # most coordinates of a model, since lists hold their indices in 32 bits


@dataclass(frozen=True)
class Tensor:
    """One array of a model, at `start` in the flat vector."""

    name: str
    shape: tuple[int, ...]
    layer: int  # index into Layout.layers
    start: int
    rows: int  # number of leading blocks that belong to the layer's rows; 1 if it has none
    trained: bool  # False for running statistics, which are averaged but not trained

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def block(self) -> slice:
        """The slice of the flat vector that holds the tensor."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Layer:
    """One layer: a weight, its bias, and the normalisation that follows it.

    Multiply-adds are counted for the forward pass of one sample.
    """

    name: str
    kind: str  # one of fedmpi.learn.kinds.KINDS, or "other"
    rows: int  # output channels or units
    macs: int  # multiply-adds with the weights of this layer
    frozen: int = 0  # multiply-adds with frozen weights, in this layer and since the one before
    products: int = 0  # multiply-adds between values (attention) or with weights of other layers
    from_data: int = 0  # part of macs whose input needs no gradient, such as the samples
    from_itself: int = 0  # part of macs whose input comes from other weights of this layer
    shortcut: bool = False  # a 1x1 convolution around a block of layers, to which it is added


@dataclass(frozen=True)
class Layout:
    """Tensors and layers of a model, in the order of the flat vector `float32[P]`.

    Frozen weights are constants of the model, and not in the vector. `tail` is the number of
    multiply-adds with frozen weights after the last layer. `uncounted` has a text for each group of
    the model's multiply-adds that is in none of these numbers, because their number is unknown.
    """

    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    tail: int = 0
    uncounted: tuple[str, ...] = ()

    @cached_property
    def size(self) -> int:
        """Number of coordinates, P."""
        return sum(tensor.size for tensor in self.tensors)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors."""
        return tuple(tensor.name for tensor in self.tensors)

    @cached_property
    def trained(self) -> Bools:
        """bool[P]: True where a coordinate is trained, False for running statistics."""
        flags = [np.full(tensor.size, tensor.trained) for tensor in self.tensors]
        return np.concatenate(flags) if flags else np.zeros(0, bool)

    def starts(self, level: str) -> Integers:
        """Return int64[U+1] `starts`; unit u of `level` is the block starts[u]..starts[u+1]-1."""
        return self._starts[level]

    @cached_property
    def _starts(self) -> dict[str, Integers]:
        """Results of `starts`, by level."""
        sizes = {
            "model": [self.size],
            "layer": [sum(self.tensors[t].size for t in ts) for ts in self.layer_tensors],
            "tensor": [tensor.size for tensor in self.tensors],
            "row": [t.size // t.rows for t in self.tensors for _ in range(t.rows)],
            "coordinate": np.ones(self.size),
        }
        return {
            level: np.concatenate(([0], np.cumsum(np.asarray(of, np.int64)))).astype(np.int64)
            for level, of in sizes.items()
        }

    @cached_property
    def layer_tensors(self) -> tuple[tuple[int, ...], ...]:
        """The indices of each layer's tensors."""
        return tuple(
            tuple(t for t, tensor in enumerate(self.tensors) if tensor.layer == layer)
            for layer in range(len(self.layers))
        )

    @cached_property
    def row_units(self) -> Integers:
        """int64[T+1]: index of each tensor's first unit at level "row", then the unit count."""
        return np.concatenate(([0], np.cumsum([t.rows for t in self.tensors]))).astype(np.int64)

    @cached_property
    def shared_rows(self) -> tuple[Integers, Integers]:
        """(int64[R], int64[U]): the rows shared by the tensors of a layer, and each unit's row.

        A tensor with as many rows as its layer shares them with the layer's other tensors. The
        first array gives the first unit, at level "row", of each shared row. The second gives for
        each unit the index of its row in the first array, or R if its tensor shares no rows.
        """
        first: list[int] = []
        of = np.full(self.row_units[-1], -1)
        for layer, tensors in zip(self.layers, self.layer_tensors, strict=True):
            sharing = [t for t in tensors if self.tensors[t].rows == layer.rows]
            for t in sharing:
                unit = self.row_units[t]
                of[unit : unit + layer.rows] = len(first) + np.arange(layer.rows)
            first += [self.row_units[t] + row for t in sharing[:1] for row in range(layer.rows)]
        of[of < 0] = len(first)
        return np.array(first, np.int64), of

    def slice(self, name: str) -> slice:
        """Return the slice of the flat vector that holds tensor `name`."""
        return self.tensors[self.names.index(name)].block


@dataclass(frozen=True, eq=False)
class Support:
    """The set of units of a model that a client receives, trains or sends.

    `keep` is uint8[U], 1 for each unit of `level` in the set. The set is stated, never
    inferred from values, since a kept coordinate may well be zero. Supports are compared by
    value: two are equal if their levels and units are equal. `keep` must not be changed
    afterwards. It may be given as bool[U], or as a view of a larger array.
    """

    layout: Layout
    level: str
    keep: Flags

    def __post_init__(self) -> None:
        """Store the flags as contiguous bytes, as the kernels read them."""
        keep = np.ascontiguousarray(self.keep)
        object.__setattr__(self, "keep", keep.view(np.uint8) if keep.dtype == bool else keep)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Support):
            return NotImplemented
        return self.level == other.level and self.digest == other.digest

    def __hash__(self) -> int:
        return hash((self.level, self.digest))

    @cached_property
    def digest(self) -> bytes:
        """16 bytes: BLAKE2b hash of the level and the units, the same for equal supports."""
        hashed = blake2b(f"{self.level} {self.keep.size} ".encode(), digest_size=DIGEST)
        hashed.update(np.packbits(self.keep != 0, bitorder="little").tobytes())
        return hashed.digest()

    @classmethod
    def all(cls, layout: Layout) -> "Support":
        """Return the support that holds the whole model."""
        return cls(layout, "model", np.ones(1, np.uint8))

    @classmethod
    def none(cls, layout: Layout) -> "Support":
        """Return the support that holds nothing."""
        return cls(layout, "model", np.zeros(1, np.uint8))

    @classmethod
    def of_rows(cls, layout: Layout, kept: Sequence[Bools | None]) -> "Support":
        """Return the support of the rows `kept`: bool[rows] for each layer, None for all rows."""
        keep = []
        for tensor in layout.tensors:
            rows = kept[tensor.layer]
            if rows is None or tensor.rows != len(rows):
                rows = np.ones(tensor.rows, bool)
            keep.append(rows.astype(np.uint8))
        return cls(layout, "row", np.concatenate(keep))

    def at(self, level: str) -> "Support":
        """Return the same support in units of `level`.

        Raises ValueError if `level` is coarser, since a unit cannot be kept in part.
        """
        if level == self.level:
            return self
        if LEVELS.index(level) < LEVELS.index(self.level):
            raise ValueError(f"a support of level {self.level} has no form at level {level}")
        parent = np.searchsorted(self.starts, self.layout.starts(level)[:-1], side="right") - 1
        return Support(self.layout, level, self.keep[parent])

    @property
    def starts(self) -> Integers:
        """int64[U+1]: bounds of the units of this level, as from `Layout.starts`."""
        return self.layout.starts(self.level)

    @cached_property
    def size(self) -> int:
        """Number of coordinates held."""
        return int(np.diff(self.starts)[self.keep != 0].sum())

    @cached_property
    def layer_counts(self) -> Integers:
        """int64[L]: number of coordinates held in each layer."""
        held = np.concatenate(([0], np.cumsum(np.diff(self.starts) * (self.keep != 0))))
        bounds = self.layout.starts("layer")
        if self.level == "model":
            return np.diff(bounds) * int(self.keep[0] != 0)
        return np.diff(held[np.searchsorted(self.starts, bounds)])

    @cached_property
    def whole(self) -> bool:
        """True if every coordinate is held."""
        return self.size == self.layout.size

    def mask(self) -> Flags:
        """Return uint8[P], 1 where a coordinate is held."""
        return np.repeat(self.keep, np.diff(self.starts))


ONE = Layout((Tensor("number", (1,), 0, 0, 1, True),), (Layer("number", "other", 1, 0),))
"""The layout of a single number, for sums of numbers over clients."""
