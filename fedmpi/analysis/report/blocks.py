"""Stacked bars, and heat maps of shares, as SVG."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from fedmpi.analysis import quantities
from fedmpi.analysis.configs import common_start
from fedmpi.analysis.report.figure import WIDTH, in_stretches, number, rounded, svg, text, ticks
from fedmpi.analysis.report.markup import Html, tag
from fedmpi.arrays import Integers, Reals

ROW = 22  # height of a bar with its gap
NAME = 104  # width of the names at the left
LETTERS = 14  # the most letters of a name at the left
VALUE = 58  # width of the values at the right
MOST_DATA = 5000  # characters of the data that a drawing carries for its CSV
LEVELS = 16  # colours of a heat map


def bars(
    title: str,
    names: Sequence[str],
    parts: Reals,
    shown: Sequence[str],
    kinds: Sequence[tuple[str, str]],
    most: float | None = None,
) -> Html:
    """Return stacked bars, one for each name: parts float64[bars, P] that are not negative.

    `shown` are the texts at the bars' ends, `kinds` the CSS class and the name of each part, and
    `most` the value of a bar of full length (default: that of the longest bar).
    """
    ends = np.cumsum(parts, axis=1)
    most = most or float(ends[:, -1].max(initial=0)) or 1.0
    scale = (WIDTH - NAME - VALUE) / most
    drawn = []
    for i, (name, label) in enumerate(zip(names, labels(names), strict=True)):
        y = i * ROW + 3
        drawn.append(tag("text", tag("title", name), label, x=NAME - 6, y=y + 13, class_="end"))
        for k, (kind, _) in enumerate(kinds):
            if parts[i, k] * scale >= 0.05:
                start = NAME + (ends[i, k] - parts[i, k]) * scale
                drawn.append(tag("rect", class_=kind, x=number(start), y=y, height=ROW - 6,
                                 width=number(parts[i, k] * scale)))
        drawn.append(text(NAME + ends[i, -1] * scale + 5, y + 13, shown[i]))
    data = as_csv(names, parts, [part for _, part in kinds])
    return svg(title, len(names) * ROW + 2, *drawn, data_csv=data)


def as_csv(names: Sequence[str], values: Reals, head: Sequence[object]) -> str | None:
    """Return a line for each name with its values float64[names, n]; None if it is too long.

    The first line is "name" and `head`, which names the values.
    """
    quoted = ['"' + str(name).replace('"', '""') + '"' for name in names]
    lines = [",".join(["name", *map(str, head)])]
    lines += [",".join([name, *map(rounded, row)])
             for name, row in zip(quoted, values, strict=True)]
    text = "\n".join(lines)
    return text if len(text) < MOST_DATA else None


def labels(names: Sequence[str]) -> list[str]:
    """Return names of at most LETTERS characters, which differ where the names differ.

    If a name is too long, all names lose the first words that they share, and then their middle.
    """
    if max(map(len, names), default=0) > LETTERS:
        shared = common_start(names) if len(set(names)) > 1 else ""
        words = re.match(r".*[^A-Za-z0-9.]", shared)
        if words and words.end() > 1:
            names = [f"…{name[words.end():]}" for name in names]
    return [quantities.shortened(name, LETTERS) for name in names]


def field(
    title: str,
    values: Reals,
    names: Sequence[str],
    notes: Sequence[str],
    x_title: str,
    columns: int,
    each: int = 1,
) -> Html:
    """Return a heat map of shares float64[rows, R]: a row for each name, a colour for each share.

    At most `columns` columns are drawn, as means of neighbours; `notes` are written at the right.
    On the axis, a step of R counts as `each`.
    """
    rows, total = values.shape
    height = max(6, min(ROW - 4, 240 // max(rows, 1)))
    means, edges = in_stretches(values.T, columns)
    across = (WIDTH - NAME - VALUE) / max(total, 1)
    drawn = []
    every = max(1, -(-11 // height))  # if rows are narrow, not every row has a name
    short = [quantities.shortened(name, LETTERS) for name in names]
    for i in range(0, rows, every):
        y = i * height + height / 2 + 4
        drawn.append(tag("text", tag("title", names[i]), short[i], x=NAME - 6,
                         y=number(y), class_="end"))
        drawn.append(text(WIDTH - VALUE + 6, y, notes[i]))
    cells = tag("g", *levels(means.T, edges), class_="field",
                transform=f"translate({NAME} 0) scale({across:.6g} {height})")
    bottom = rows * height
    box = tag("rect", class_="box", x=NAME, y=0.5, width=WIDTH - NAME - VALUE, height=bottom - 0.5)
    marks = [text(NAME + value / each * across, bottom + 15, f"{value:.0f}", class_="mid")
             for value in ticks(0, total * each, 4) if value == int(value)]
    below = text((NAME + WIDTH - VALUE) / 2, bottom + 32, x_title, class_="mid")
    return svg(title, bottom + 38, box, cells, *drawn, *marks, below,
               data_csv=as_csv(names, means.T, (edges[:-1] * each).tolist()))


def levels(values: Reals, edges: Integers) -> Iterator[Html]:
    """Yield a path for each of LEVELS colours of values float64[rows, columns] in 0 to 1.

    Neighbours of one colour in a row are one rectangle. Every value above 0 is visible.
    """
    clean = np.nan_to_num(np.clip(values, 0, 1))
    strength = np.ceil(clean * LEVELS - 1e-9).astype(int)
    shapes: dict[int, list[str]] = {}
    for row, line in enumerate(strength):
        starts = np.flatnonzero(np.diff(line, prepend=-1))
        ends = np.append(starts[1:], len(line))
        for start, end in zip(starts, ends, strict=True):
            width = edges[end] - edges[start]
            shapes.setdefault(line[start], []).append(f"M{edges[start]} {row}h{width}v1h-{width}z")
    for level in sorted(set(shapes) - {0}):
        yield tag("path", d="".join(shapes[level]), fill_opacity=f"{level / LEVELS:.3g}")
