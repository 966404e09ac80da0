"""Test accuracy over rounds, bytes and virtual seconds, as numbers and as a plot in plain text."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fedmpi.analysis import quantities
from fedmpi.analysis.configs import grouped
from fedmpi.arrays import Bools, Reals
from fedmpi.errors import ConfigError, counted
from fedmpi.record.reader import Run

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # of one braille cell


@dataclass(frozen=True)
class Axis:
    """A quantity over which accuracy is drawn, for the x axis."""

    title: str
    values: Callable[[Run], Reals]  # Run -> float64[R], at the end of each round
    units: quantities.Units  # (size, name), falling

    def unit(self, most: float) -> tuple[float, str]:
        """Return the (size, name) that suits an axis up to `most`."""
        return quantities.axis_unit(most, self.units)


AXES = {
    "rounds": Axis("rounds", lambda run: np.arange(1.0, len(run.rounds) + 1), ((1, ""),)),
    "bytes": Axis("bytes sent, up and down",
                  lambda run: np.cumsum(run.rounds["bytes_up"] + 1.0 * run.rounds["bytes_down"]),
                  quantities.BYTES),
    "seconds": Axis("virtual time", lambda run: run.rounds["virtual_time"], quantities.SECONDS),
}


def series(run: Run, axis: str, column: str = "test_accuracy") -> tuple[Reals, Reals]:
    """Return (x, y), float64[E] each: the rounds of a Run in which both have a value."""
    if axis not in AXES:
        raise ConfigError(f"axis {axis!r}: must be one of {', '.join(AXES)}")
    x, y = AXES[axis].values(run), run.rounds[column]
    shown = np.isfinite(x) & ~np.isnan(y)
    return x[shown], y[shown]


def mean_curve(group: Sequence[Run], axis: str) -> tuple[Reals, Reals, Reals]:
    """Return (x, mean, deviation) float64[E] over the runs of a group, evaluation by evaluation.

    Runs of a configuration evaluate in the same rounds; the shortest run ends the curve. A run that
    ended before its first evaluation does not count.
    """
    curves = [series(run, axis) for run in group]
    curves = [curve for curve in curves if curve[0].size] or curves[:1]
    length = min(len(x) for x, _ in curves)
    x = np.mean([x[:length] for x, _ in curves], axis=0)
    ys = np.array([y[:length] for _, y in curves])
    return x, ys.mean(axis=0), ys.std(axis=0, ddof=1) if len(ys) > 1 else np.zeros(length)


def text(runs: Sequence[Run], axes: Iterable[str] = tuple(AXES), width: int = 80,
         height: int = 11, each: bool = True) -> str:
    """Return plots over each axis, one below the other, in at most `width` columns.

    A curve is a run, or without `each` the mean over the runs of a configuration. Letters identify
    the curves, so no colour is needed.
    """
    groups, found = grouped(runs, each)
    parts = [plot([mean_curve(group, axis)[:2] for group in groups], AXES[axis], width, height)
             for axis in axes]
    lines = [f"{LETTERS[i % 26]} {name}" for i, name in enumerate(found)]
    if not each:
        lines = [f"{line}, {_of(group)}" for line, group in zip(lines, groups, strict=True)]
    return "\n\n".join([*parts, "\n".join(lines)])


def _of(group: Sequence[Run]) -> str:
    """Return how many runs of a group its curve is made of, in words."""
    count = sum(series(run, "rounds")[0].size > 0 for run in group)
    return f"mean of {count} runs" if count > 1 else counted(count, "run")


def plot(curves: Sequence[tuple[Reals, Reals]], axis: Axis, width: int = 80,
         height: int = 11) -> str:
    """Return one plot of curves [(x, y), ...] as text of height + 3 lines."""
    xs = np.concatenate([x for x, _ in curves])
    ys = np.concatenate([y for _, y in curves])
    head = f"test accuracy over {axis.title}"
    if not xs.size:
        return f"{head}\n  no round with a test accuracy"
    low, high = y_range(ys)
    right = float(xs.max()) or 1.0
    columns = width - 7
    dots = np.zeros((4 * height, 2 * columns), bool)
    for x, y in curves:
        draw_curve(dots, x / right, (y - low) / (high - low))
    cells = [list(line) for line in braille(dots)]
    if len(curves) > 1:
        for k, (x, y) in enumerate(curves):
            put_letters(cells, x / right, (y - low) / (high - low), k, len(curves))
    lines = [head]
    for row, line in enumerate(cells):
        value = high - (high - low) * row / (height - 1)
        label = f"{value:5.3f}" if row in (0, height // 2, height - 1) else " " * 5
        lines.append(f"{label} │{''.join(line)}".rstrip())
    lines.append(" " * 6 + "└" + "─" * columns)
    lines.append(" " * 7 + x_labels(right, axis.unit(right), columns))
    return "\n".join(lines)


def y_range(ys: Reals) -> tuple[float, float]:
    """Return the limits of the y axis: round numbers that enclose the values."""
    low, high = float(ys.min()), float(ys.max())
    step = max(0.005, round_step((high - low) / 10))
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return low, max(high, low + step)


def round_step(value: float) -> float:
    """Return the least of 1, 2, 5, 10, 20, ... (and 0.1, ...) that is at least `value`.

    It is 0 for NaN and for values up to 1e-300, since smaller numbers cannot be divided.
    """
    if not value > 1e-300:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return power * next(step for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def draw_curve(dots: Bools, x: Reals, y: Reals) -> None:
    """Set the dots bool[h, w] of a curve with x, y in 0 to 1, in place."""
    height, width = dots.shape
    column, row = x * (width - 1), (1 - y) * (height - 1)
    for i in range(len(x)):
        j = min(i + 1, len(x) - 1)
        steps = int(max(abs(column[j] - column[i]), abs(row[j] - row[i]))) + 2
        dots[np.rint(np.linspace(row[i], row[j], steps)).astype(int),
             np.rint(np.linspace(column[i], column[j], steps)).astype(int)] = True


def braille(dots: Bools) -> list[str]:
    """Return dots bool[4 h, 2 w] as h lines of w braille letters, blanks where no dot is set."""
    height, width = dots.shape
    cells = dots.reshape(height // 4, 4, width // 2, 2)
    codes = (cells * DOTS[None, :, None, :]).sum(axis=(1, 3))
    return ["".join(chr(0x2800 + code) if code else " " for code in line) for line in codes]


def put_letters(cells: list[list[str]], x: Reals, y: Reals, k: int, count: int) -> None:
    """Put the letter of curve k of `count` on it, at places without other curves' letters."""
    if not x.size:
        return
    height, width = len(cells), len(cells[0])
    for third in range(3):
        place = (third + (k + 1) / (count + 1)) / 3
        at = x[0] + place * (x[-1] - x[0])
        row = int((1 - np.interp(at, x, y)) * (4 * height - 1) + 0.5) // 4
        cells[row][int(at * (2 * width - 1) + 0.5) // 2] = LETTERS[k % 26]


def x_labels(right: float, unit: tuple[float, str], columns: int) -> str:
    """Return the labels of an axis that ends at `right`: round numbers, the last with its unit."""
    size, name = unit
    end = right / size
    step = round_step(end / 7) or end
    step = step if name else max(step, 1.0)  # no half rounds
    count = int(end / step * (1 + 1e-9))
    line = [" "] * (columns + len(name) + 1)
    for i in range(count + 1):
        label = quantities.digits(i * step) + (f" {name}" if i == count and name else "")
        start = max(0, round(i * step / end * (columns - 1)) - len(label) // 2)
        start = min(start, columns - len(label))
        line[start : start + len(label)] = label
    return "".join(line).rstrip()
