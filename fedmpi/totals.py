"""Weighted sums over clients, and the means computed from them.

With shares a, supports m and client values x, a method's mean is one of three. They differ in
the treatment of coordinates that a client did not send (`fill`):

    mean    sum(a m x) / sum(a m), the old value where sum(a m) = 0
    zero    sum(a m x) / sum(a): coordinates not sent count as 0
    old     sum(a m x + a (1 - m) old) / sum(a): coordinates not sent count as the old value

The units that any client sent are marked, at a level (layout.py) as coarse as the method's
supports allow, so that the ranks exchange only these units.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Bools, Flags, Reals, State, Vector
from fedmpi.errors import ClientError, FedmpiError, either
from fedmpi.layout import LEVELS, Layout, Support

Fill: TypeAlias = Literal["mean", "zero", "old"]
FILLS: tuple[str, ...] = get_args(Fill)
SLACK = 1e-6  # most by which the sum of rounded shares may exceed one


class Total:
    """The weighted sum of one flat quantity over clients, and its weights.

    Parameters
    ----------
    layout : Layout
    level : str
        The finest level of the supports that are added.
    fill : "mean", "zero" or "old"
    exact : bool
        True for integer sums that do not depend on the order of the clients.

    Attributes
    ----------
    sum : int64[P], or float32[P] if not exact
    cover : int64[U] or float32[U], empty if fill is "zero"
        Total weight of the clients that sent each unit of `level`, in the same scale as `sum`.
    all : int64, or float64 if not exact
        Total weight of all clients added, in the same scale. A float32 would drift by more than
        SLACK with a hundred clients.
    touched : uint8[U]
        1 for each unit to which anything was added, even zeros.
    """

    def __init__(
        self, layout: Layout, level: str = "model", fill: Fill = "mean", exact: bool = True
    ) -> None:
        for name, value, known in (("level", level, LEVELS), ("fill", fill, FILLS)):
            if value not in known:
                raise FedmpiError(f"Total: {name} is {value!r}; it must be {either(known)}")
        dtype = np.int64 if exact else np.float32
        self.layout, self.level, self.fill, self.exact = layout, level, fill, exact
        self.starts = layout.starts(level)
        units = self.starts.size - 1
        self.sum: AnyArray = np.zeros(layout.size, dtype)
        self.cover: AnyArray = np.zeros(0 if fill == "zero" else units, dtype)
        self.touched: Flags = np.zeros(units, np.uint8)
        self.all: Any = np.int64(0) if exact else np.float64(0)
        self._shift: Reals | None = None

    def add(self, values: Vector, share: float, support: Support | None = None) -> None:
        """Add float32[P] `values` of one client with weight `share` on `support` (default: all).

        Values outside the support are not read. The support may have this total's level or a
        coarser one. Raises ClientError if a value does not fit an exact sum, and FedmpiError if the
        values are no float32[P], if the support is finer or of another model, or if the shares add
        up to more than one. In these cases nothing is added.
        """
        support = Support.all(self.layout) if support is None else support
        self.check(values, share, support)
        self.put(values, share, support)

    def put(self, values: Vector, share: float, support: Support) -> None:
        """Add values that have passed `check`."""
        add = kernels.sums.add_exact if self.exact else kernels.sums.add_fast
        add(self.sum, support.starts, support.keep, values, share)
        keep = support.at(self.level).keep != 0
        weight = self._scaled(share)
        self.touched[keep] = 1
        if self.fill != "zero":
            self.cover[keep] += weight
        self.all += weight

    def check(
        self, values: Vector, share: float, support: Support, waiting: float = 0.0
    ) -> None:
        """Raise the errors of `add`, with shares of `waiting` counted as added; add nothing."""
        self._check_sizes(values, support)
        if LEVELS.index(support.level) > LEVELS.index(self.level):
            raise FedmpiError(
                f"a sum over clients by {self.level} got a support by {support.level}; let the "
                f'method say level = "{support.level}", or give its Total this level'
            )
        before = self.weight + waiting
        if not (share >= 0 and before + share <= 1 + SLACK):
            raise FedmpiError(
                f"a sum over clients got the share {share:g} after {before:g}; shares are "
                "not negative and add up to at most 1"
            )
        largest = kernels.sums.largest_kept(support.starts, support.keep, values)
        if not largest < kernels.sums.LIMIT:
            found = f"{largest:g} is too large for" if largest < np.inf else "NaN or infinity in"
            raise ClientError(f"{found} a sum over clients, which takes numbers below "
                              f"{int(kernels.sums.LIMIT):,}")

    def _check_sizes(self, values: Any, support: Support) -> None:
        """Raise FedmpiError unless the kernels, which check no sizes, can read the arguments."""
        size, units = self.layout.size, support.starts.size - 1
        plain = isinstance(values, np.ndarray)
        if not plain or values.dtype != np.float32 or values.shape != (size,):
            found = f"{values.dtype}{list(values.shape)}" if plain else type(values).__name__
            raise FedmpiError(
                f"a sum over clients got values {found}; they must be float32[{size}], a number "
                "for each coordinate"
            )
        if support.layout.size != size or support.keep.shape != (units,):
            raise FedmpiError(
                f"a sum over clients got a support by {support.level} with {support.keep.size} "
                f"flags for {support.layout.size:,} coordinates; the support must be of the sum's "
                f"model, which has {size:,}, with a flag for each unit"
            )

    def mean(self, old: Vector) -> Vector:
        """Return the mean by `fill`, float32[P], with `old` where no client added anything."""
        out = self._mean(old)
        noise = self.noise
        return out if noise is None else out + noise

    @property
    def noise(self) -> Vector | None:
        """float32[P]: noise that `shift` adds to the mean, or None."""
        if self._shift is None or not self.all > 0:
            return None
        return (self._shift / self.weight).astype(np.float32)

    def _mean(self, old: Vector) -> Vector:
        """Return the mean without the noise of `shift`."""
        out = np.empty_like(old)
        if self.fill == "old":
            every = float(self.all)
            kernels.sums.mean_with_old(out, old, self.sum, self.cover, self.starts, every)
            return out
        one = np.array([0, self.layout.size], np.int64)
        zero = self.fill == "zero"
        cover = np.array([self.all], self.sum.dtype) if zero else self.cover
        kernels.sums.mean(out, old, self.sum, cover, one if zero else self.starts)
        return out

    def shift(self, noise: Reals) -> None:
        """Count `noise` float64[P] as a part of the sum, in every coordinate; calls add up."""
        self._shift = noise if self._shift is None else self._shift + noise

    def unshift(self, where: Bools) -> None:
        """Remove the noise of `shift` in the coordinates bool[P] `where`."""
        if self._shift is not None:
            self._shift = np.where(where, 0.0, self._shift)

    @property
    def weight(self) -> float:
        """The sum of the shares of all clients added."""
        return float(self.all) / self._unit

    @property
    def covered(self) -> float:
        """The share of the coordinates to which at least one client added."""
        held = np.diff(self.starts)[self.touched != 0].sum()
        return float(held / max(self.layout.size, 1))

    def replace(self, total: AnyArray, cover: AnyArray, touched: Flags, every: Any) -> None:
        """Replace this rank's sums by the sums over all ranks; the arrays are only read.

        `every` is the total weight of all clients. Raises FedmpiError if it is more than one.
        """
        self.sum, self.cover, self.touched, self.all = total, cover, touched, every
        self._check_weight()

    def join(self, other: "Total") -> None:
        """Add another sum of the same kind."""
        self.sum, self.cover = self.sum + other.sum, self.cover + other.cover
        self.touched, self.all = self.touched | other.touched, self.all + other.all
        self._check_weight()

    def _check_weight(self) -> None:
        """Raise FedmpiError if the shares of all ranks exceed one, so that sums may overflow."""
        if self.weight > 1 + SLACK:
            raise FedmpiError(
                f"a sum over clients got shares of {self.weight:g} on all ranks; shares are not "
                "negative and add up to at most 1"
            )

    @property
    def _unit(self) -> float:
        """A share of one, in the scale of the sums."""
        return kernels.sums.SCALE if self.exact else 1.0

    def _scaled(self, share: float) -> Any:
        """Return a share in the scale and type of the sums."""
        if self.exact:
            return np.int64(round(share * kernels.sums.SCALE))
        return np.float32(share)


Sums: TypeAlias = Mapping[str, Total]
"""The sums of a method by name."""


class Pending:
    """One client's additions to a Total, which take effect only with `commit`.

    `lasting` are arrays that do not change before. Values in other arrays are copied, so that a
    method may write to an array after it has added it.
    """

    def __init__(self, name: str, total: Total, lasting: Sequence[Vector] = ()) -> None:
        self._name, self._total, self._lasting = name, total, lasting
        self._waiting: list[tuple[Vector, float, Support]] = []

    def add(self, values: Vector, share: float, support: Support | None = None) -> None:
        """Check an addition as `Total.add` does, and keep it until `commit`."""
        support = Support.all(self._total.layout) if support is None else support
        try:
            waiting = sum(share for _, share, _ in self._waiting)
            self._total.check(values, share, support, waiting)
        except ClientError as error:
            raise ClientError(f"its {self._name}: {error}") from None
        lasts = any(values is array for array in self._lasting)
        self._waiting.append((values if lasts else values.copy(), share, support))

    def commit(self) -> None:
        """Add the pending additions to the Total."""
        for addition in self._waiting:
            self._total.put(*addition)


@contextmanager
def one_client(sums: Sums, lasting: Sequence[Vector] = ()) -> Iterator[dict[str, Pending]]:
    """Yield the sums for the additions of one client, either all of which are made or none.

    None are made if the block raises. The block must not write to the arrays `lasting`.
    """
    pending = {name: Pending(name, total, lasting) for name, total in sums.items()}
    yield pending
    for one in pending.values():
        one.commit()


def detached(state: State, sums: Sums) -> State:
    """Return a state with copies of its arrays that share memory with sums, which are reused.

    All arrays are in the form in which they come back from a checkpoint, row by row and in the
    byte order of this machine, so that a resumed run adds up their values in the same order.
    """
    lent = [of for total in sums.values() for of in (total.sum, total.cover, total.touched)]
    plain = {
        name: np.asarray(array, array.dtype.newbyteorder("="), order="C")
        for name, array in state.items()
    }
    return {
        name: array.copy() if any(np.may_share_memory(array, of) for of in lent) else array
        for name, array in plain.items()
    }


def union(sums: Sums, layout: Layout) -> float:
    """Return the share of a model's coordinates that any of the sums over models touched."""
    marks = [total for total in sums.values() if total.layout == layout]
    whole = [total for total in marks if total.touched.all()]
    if whole or len(marks) < 2:
        return max((total.covered for total in whole or marks), default=0.0)
    found = np.zeros(layout.size, bool)
    for total in marks:
        found |= np.repeat(total.touched != 0, np.diff(total.starts))
    return float(found.mean())
