"""Measure and compare times: repeats, spread, ratios, the floors of the machine, and bars."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

Found: TypeAlias = dict[str, Any]
"""The result of a benchmark, a dict for JSON; the function that returns it documents its keys."""
Say: TypeAlias = Callable[[str], None]
"""A function that is called with a few words on what is being measured."""
COPY_BYTES = 1 << 28  # far more than the size of any cache
GEMM_SIDE = 1024


@dataclass(frozen=True)
class Spread:
    """The median, smallest and largest of `count` values, and their quartiles."""

    median: float
    low: float
    high: float
    quartiles: tuple[float, float]
    count: int

    @classmethod
    def of(cls, values: ArrayLike) -> "Spread":
        """Return the Spread of some numbers; NaN everywhere if there are none."""
        array = np.asarray(values, np.float64)
        if array.size == 0:
            return cls(math.nan, math.nan, math.nan, (math.nan, math.nan), 0)
        low, first, median, third, high = np.percentile(array, [0, 25, 50, 75, 100]).tolist()
        return cls(median, low, high, (first, third), array.size)

    def plain(self) -> Found:
        """Return the numbers by name as JSON values: NaN becomes None."""
        return dict(plain(asdict(self)))


@dataclass(frozen=True)
class Bar:
    """A promised limit: `value` must be at least, or with at_least = False at most, `bound`.

    A value of None or NaN was not measured; then `met` is None, and `note` gives the reason.
    """

    name: str
    value: float | None
    bound: float
    at_least: bool = True
    note: str = ""

    @property
    def met(self) -> bool | None:
        """True, False, or None if there is no value."""
        if self.value is None or math.isnan(self.value):
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def plain(self) -> Found:
        """Return the bar as a dict for JSON."""
        kind = ">=" if self.at_least else "<="
        shown = {"name": self.name, "value": self.value, "kind": kind, "bound": self.bound}
        return dict(plain(shown | {"met": self.met, "note": self.note}))


def judged(bars: Sequence[Bar], quick: bool) -> list[Found]:
    """Return bars as dicts for JSON; after a `quick` measurement none is met or missed."""
    too_small = {"met": None, "note": "quick: too little was measured to judge"}
    return [bar.plain() | (too_small if quick else {}) for bar in bars]


def plain(tree: Any) -> Any:
    """Return dicts, lists and numbers as JSON values; NaN and infinity become None."""
    if isinstance(tree, dict):
        return {str(name): plain(value) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [plain(value) for value in tree]
    if isinstance(tree, np.generic):
        return plain(tree.item())
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def seconds(function: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    began = perf_counter()
    function()
    return perf_counter() - began


def repeat(function: Callable[[], object], repeats: int = 7) -> list[float]:
    """Return the seconds of `repeats` calls, after one call that is not counted."""
    function()
    return [seconds(function) for _ in range(repeats)]


def interleaved(
    functions: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, list[float]]:
    """Return {name: seconds of each call}; calls take turns, so all meet the same disturbances.

    `functions` is a dict of callables; the first call of each is not counted.
    """
    for function in functions.values():
        function()
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            taken[name].append(seconds(function))
    return taken


def ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return ones[i] / others[i], for values measured in pairs."""
    return [one / other for one, other in zip(ones, others, strict=True)]


def copy_bandwidth(size: int = COPY_BYTES) -> float:
    """Return the bytes per second of a copy, counting bytes read and bytes written."""
    source = np.ones(size // 8)
    target = np.empty_like(source)
    return 2 * source.nbytes / min(repeat(lambda: np.copyto(target, source), 5))


def gemm_rate(side: int = GEMM_SIDE) -> float:
    """Return the FLOPs per second of numpy's float32 matrix product, with its own threads."""
    one = np.ones((side, side), np.float32)
    out = np.empty_like(one)
    return 2 * side**3 / min(repeat(lambda: np.matmul(one, one, out=out), 5))
