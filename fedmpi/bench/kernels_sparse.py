"""The arms of selection and of sums, and all arms and Bars of the sparse kernels."""

from collections.abc import Callable, Sequence
from functools import partial
from math import nan
from typing import TypeAlias

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Vector
from fedmpi.bench import kernels_formats as formats
from fedmpi.bench.arms import Arm, Row
from fedmpi.bench.measure import Bar
from fedmpi.rng import rng_for

Feedback: TypeAlias = Callable[[Vector, Vector, int], object]
DENSITIES = (0.01, 0.1, 0.5)
SHARE = 0.01  # of the entries is selected


def selection(size: int, torch_feedback: Feedback) -> list[Arm]:
    """Return the arms of exact selection, with and without error feedback.

    `torch_feedback(update, residual, count)` does the same as `feedback` with torch, in float32[n]
    arrays.
    """
    rng, count, select = rng_for(0, "bench selection"), round(SHARE * size), kernels.select
    update, residual = rng.standard_normal((2, size), np.float32)
    indices, picked = np.empty(count, np.uint32), np.empty(count, np.float32)
    left = residual.copy()

    def feedback() -> None:
        select.feedback(update, residual, indices, picked)

    def numpy_top() -> AnyArray:
        return np.argpartition(np.abs(update), size - count)[size - count :]

    peer = partial(torch_feedback, update, left, count)
    top_bytes = 4 * size + 8 * count
    return [
        Arm("feedback", size, 12 * size + 12 * count, feedback, peer),
        Arm("top", size, top_bytes, lambda: select.top(update, indices, picked), numpy_top),
    ]


def sums(size: int) -> list[Arm]:
    """Return the arm of the exact sum, beside the same pass over float64."""
    values = rng_for(0, "bench sums").standard_normal(size, np.float32)
    exact, plain = np.zeros(size, np.int64), np.zeros(size)
    starts, keep = np.array([0, size]), np.ones(1, np.uint8)

    def run() -> None:
        kernels.sums.add_exact(exact, starts, keep, values, 0.1)

    def peer() -> None:
        kernels.sums.add_fast(plain, starts, keep, values, 0.1)

    return [Arm("exact add", size, 20 * size, run, peer)]


def every(size: int, torch_feedback: Feedback) -> list[Arm]:
    """Return all arms of the sparse kernels: those of this module and of kernels_formats.py."""
    arms = selection(size, torch_feedback) + sums(size)
    arms += formats.blocks(size) + formats.sixteen_bits(size)
    for density in DENSITIES:
        arms += formats.supports(size, density) + formats.bitmaps(size, density)
        arms += formats.positions(size // 4, density)
    return arms


def bars(found: Sequence[Row]) -> list[Bar]:
    """Return the Bars on these rows: selection, the exact sum, and every encoder and decoder."""
    feedback = next(row for row in found if row.name == "feedback")
    exact = next(row for row in found if row.name == "exact add")
    promised = [
        Bar("exact add: times a float64 add", 1 / (exact.peer or nan), 1.25, at_least=False),
        Bar("feedback: ns per element", feedback.ns, 2.5, at_least=False),
        Bar("feedback: times faster than torch", feedback.peer, 8.0),
    ]
    coded = [row for row in found if "code" in row.name and "only" not in row.name]
    return promised + [
        Bar(f"{row.name}: times its floor", row.floor, 2.0, at_least=False) for row in coded
    ]
