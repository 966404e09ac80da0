"""Curves and areas over rounds, bytes or seconds, as SVG with colours from the page's style.

All figures are 400 units wide, so that letters have the same size in all of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fedmpi.analysis import quantities
from fedmpi.analysis.curves import round_step
from fedmpi.analysis.report.markup import Html, tag
from fedmpi.arrays import Integers, Reals

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 50, 388, 10, 200  # the area of the curves; 6 digits fit beside it
POINTS = 108  # of one curve
COLOURS, DASHES = 7, 4  # how many the style defines
Places = TypeVar("Places", float, Reals)  # one place or many


@dataclass(frozen=True, eq=False)
class Curve:
    """A line, number `index` of the page; `low` and `high`, if given, bound its band."""

    index: int
    name: str
    x: Reals  # float64[n], not falling
    y: Reals
    low: Reals | None = None
    high: Reals | None = None


@dataclass(frozen=True)
class PlotArea:
    """The scales of a figure, from values to units of its area; `unit` is (size, name) of x."""

    x: tuple[float, float]  # lowest and highest value
    y: tuple[float, float]
    unit: tuple[float, str] = (1, "")

    def across(self, x: Places) -> Places:
        """Return x[n] in units from the left edge."""
        return LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (RIGHT - LEFT)

    def up(self, y: Places) -> Places:
        """Return y[n] in units from the upper edge."""
        return BOTTOM - (y - self.y[0]) / (self.y[1] - self.y[0]) * (BOTTOM - TOP)


def classes(index: int) -> str:
    """Return the CSS classes of the elements of curve `index`: curve, colour and dashes."""
    return f"s s{index} c{index % COLOURS} d{index % DASHES}"


def number(value: float) -> str:
    """Return a coordinate with one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def points(x: Reals, y: Reals) -> str:
    """Return coordinates as the points of a path."""
    return " ".join(f"{number(a)},{number(b)}" for a, b in zip(x, y, strict=True))


def figure(caption: str, drawing: Html, about: str = "", **attributes: object) -> Html:
    """Return a figure with its caption; `about` describes it in words."""
    note = tag("span", about, class_="note") if about else None
    return tag("figure", tag("figcaption", tag("strong", caption), " " if about else None, note),
               drawing, **attributes)


def svg(title: str, height: float, *children: object, **attributes: object) -> Html:
    """Return a drawing whose name for screen readers is `title`."""
    return tag("svg", tag("title", title), *children, viewBox=f"0 0 {WIDTH} {height}",
               role="img", **attributes)


def text(x: float, y: float, words: object, **attributes: object) -> Html:
    """Return a text element at a place."""
    return tag("text", words, x=number(x), y=number(y), **attributes)


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return about `count` round values between low and high."""
    step = round_step((high - low) / count) or 1.0
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def axes(
    frame: PlotArea, x_title: str, y_format: Callable[[float], str] = quantities.digits
) -> list[Html]:
    """Return the grid, the numbers beside it, and the title below."""
    lines, words = [], []
    for value in ticks(*frame.y, 5):
        y = number(frame.up(value))
        lines.append(f"M{LEFT},{y}H{RIGHT}")
        words.append(text(LEFT - 6, frame.up(value) + 4, y_format(value), class_="end"))
    size, name = frame.unit
    for value in ticks(frame.x[0] / size, frame.x[1] / size, 7):
        if not name and value != int(value):  # half a round
            continue
        x = frame.across(value * size)
        lines.append(f"M{number(x)},{BOTTOM}v4")
        words.append(text(x, BOTTOM + 17, quantities.digits(value), class_="mid"))
    title = f"{x_title} [{name}]" if name else x_title
    words.append(text((LEFT + RIGHT) / 2, BOTTOM + 34, title, class_="mid"))
    return [tag("path", class_="grid", d="".join(lines)), *words]


def lines(
    title: str, curves: Sequence[Curve], frame: PlotArea, x_title: str, target: float | None = None
) -> Html:
    """Return the drawing of Curves; `target` is a level to mark."""
    if not any(curve.x.size for curve in curves):
        return nothing(title)
    drawn = [curve_of(curve, frame) for curve in curves if curve.x.size]
    mark = None
    if target is not None and frame.y[0] <= target <= frame.y[1]:
        y = number(frame.up(target))
        mark = tag("path", class_="target", d=f"M{LEFT},{y}H{RIGHT}")
    size, name = frame.unit
    scale = {
        "data_x": f"{frame.x[0] / size:.12g} {frame.x[1] / size:.12g}",
        "data_y": f"{frame.y[0]:.12g} {frame.y[1]:.12g}",
        "data_unit": name or x_title,
        "data_area": f"{LEFT} {RIGHT} {TOP} {BOTTOM}",
    }
    return svg(title, HEIGHT, *axes(frame, x_title), mark, *drawn, class_="lines", **scale)


def curve_of(curve: Curve, frame: PlotArea) -> Html:
    """Return the drawing of a Curve: its band, its line, and a dot if it has only one point."""
    keep = thinned(curve.y, POINTS)
    x, y = frame.across(curve.x[keep]), frame.up(curve.y[keep])
    band = None
    if curve.low is not None and curve.high is not None:
        edge = np.concatenate([frame.up(curve.high[keep]), frame.up(curve.low[keep])[::-1]])
        around = points(np.concatenate([x, x[::-1]]), edge)
        band = tag("path", class_="band", d=f"M{around}Z")
    exact = " ".join(f"{a / frame.unit[0]:.5g},{b:.4g}"
                     for a, b in zip(curve.x[keep], curve.y[keep], strict=True))
    line = tag("path", class_="line", d=f"M{points(x, y)}", data_name=curve.name,
               data_points=exact)
    dot = tag("circle", cx=number(x[0]), cy=number(y[0]), r=3) if len(x) == 1 else None
    return tag("g", band, line, dot, class_=classes(curve.index))


def thinned(y: Reals, most: int) -> Integers:
    """Return int64[m]: the points of y[n] to draw, all or each stretch's lowest and highest.

    The first and the last point are always included, and m is at most `most`.
    """
    if len(y) <= most:
        return np.arange(len(y))
    stretches = np.array_split(np.arange(len(y)), most // 2 - 1)
    ends = [at[[y[at].argmin(), y[at].argmax()]] for at in stretches]
    return np.unique(np.concatenate([[0, len(y) - 1], *ends]))


def frame_of(
    curves: Sequence[Curve],
    axis_units: quantities.Units,
    y: tuple[float, float] | None,
) -> PlotArea:
    """Return the PlotArea that holds all Curves; with y None, from 0 to a round number."""
    most = max((float(curve.x[-1]) for curve in curves if curve.x.size), default=1.0)
    most = most if most > 0 else 1.0
    if y is None:
        tops = [curve.y if curve.high is None else curve.high for curve in curves]
        y = (0.0, ceiling(max((float(top.max()) for top in tops if top.size), default=1.0)))
    return PlotArea((0.0, most), y, quantities.axis_unit(most, axis_units))


def ceiling(value: float) -> float:
    """Return a round end for an axis from 0 that includes `value`."""
    step = round_step(value / 5)
    return math.ceil(value / step - 1e-9) * step if step else 1.0


def nothing(title: str) -> Html:
    """Return a drawing that says that there are no points."""
    return svg(title, HEIGHT, text(WIDTH / 2, HEIGHT / 2, "nothing to draw", class_="mid"))


def steps(edges: Reals, heights: Reals, base: float) -> Html:
    """Return the path of an area of steps: heights[n] over edges[n + 1], down to `base`."""
    moves, level = [f"M{number(edges[0])},{number(base)}"], base
    for left, height in zip(edges[:-1], heights, strict=True):
        if number(height) != number(level):
            moves.append(f"H{number(left)}V{number(height)}")
            level = height
    return Html("".join([*moves, f"H{number(edges[-1])}V{number(base)}Z"]))


def in_stretches(values: Reals, most: int) -> tuple[Reals, Integers]:
    """Return (means [m, ...] of neighbours in values [n, ...], edges int64[m + 1]), m <= most."""
    n = len(values)
    step = max(1, -(-n // most))
    starts = np.arange(0, n, step)
    edges = np.append(starts, n)
    sums = np.add.reduceat(values, starts, axis=0) if n else values
    width = np.diff(edges).reshape(-1, *[1] * (values.ndim - 1))
    return sums / width if n else values, edges


def stacks(
    title: str,
    parts: Reals,
    over: Reals,
    frame: PlotArea,
    kinds: Sequence[tuple[str, str]],
    line_name: str,
    columns: int = 64,
) -> Html:
    """Return the drawing of stacked areas of steps, one for each of parts float64[P, R].

    kinds[P] are their CSS classes and names, the lowest area first; `over` float64[R], with the
    name `line_name`, is drawn as a line. Heights are bytes, shown in a unit that suits the frame.
    The data of the drawing give the first round of each step.
    """
    if not parts.shape[1]:
        return nothing(title)
    means, edges = in_stretches(np.vstack([parts, over[None]]).T, columns)
    x = frame.across(edges.astype(float))
    tops = np.cumsum(means[:, :-1], axis=1)
    areas = [tag("path", class_=kinds[k][0], d=steps(x, frame.up(tops[:, k]), BOTTOM))
             for k in reversed(range(tops.shape[1])) if parts[k].any()]
    level = frame.up(means[:, -1])
    line = points(np.repeat(x, 2)[1:-1], np.repeat(level, 2))
    size, _ = quantities.axis_unit(frame.y[1], quantities.BYTES)
    grid = axes(frame, "rounds", lambda value: quantities.digits(value / size))
    rows = [",".join(["round", *(name for _, name in kinds), line_name])]
    rows += [",".join([str(first), *map(rounded, row)])
             for first, row in zip(edges[:-1].tolist(), means, strict=True)]
    return svg(title, HEIGHT, *areas, *grid, tag("path", class_="over", d=f"M{line}"),
               data_csv="\n".join(rows))


def rounded(value: float) -> str:
    """Return a number with four digits, without an exponent up to 10^10."""
    return f"{float(f'{value:.4g}'):.10g}"
