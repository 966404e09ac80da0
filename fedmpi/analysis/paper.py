"""A figure for a paper: mean accuracy and its spread over seeds, in one or two columns' width."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedmpi.analysis.configs import alike, names
from fedmpi.analysis.curves import AXES, mean_curve
from fedmpi.analysis.draw import COLOURS, STYLES, literal, save, sheet, start_at_zero
from fedmpi.record.reader import Run

SIZES = {1: (3.5, 5.4), 2: (7.16, 2.6)}  # inches, of a column and of a page of IEEE and ACM
FONT = 8  # points


def figure(
    runs: Sequence[Run], path: str, columns: int = 2, target: float | None = None
) -> None:
    """Draw each configuration of `runs` over rounds, bytes and virtual seconds into `path`.

    The line is the mean over seeds, and the band is one standard deviation. `columns` is 1 (three
    panels one below the other, in one column of the page) or 2 (side by side, over both). Errors
    as in `draw.draw`.
    """
    sheet_ = sheet(path, SIZES[columns])
    shape = (len(AXES), 1) if columns == 1 else (1, len(AXES))
    panels = np.ravel(sheet_.subplots(*shape, sharey=True))
    groups = alike(runs)
    lines: list[Any] = []
    for panel, axis in zip(panels, AXES, strict=True):
        lines = _panel(panel, groups, axis, target)
    for panel in panels if columns == 1 else panels[:1]:
        panel.set_ylabel("test accuracy", fontsize=FONT)
    found = literal(names(groups))
    room = 48 if columns == 1 else 110  # letters of the font in a line of the legend
    across = max(1, min(len(found), room // (max(map(len, found)) + 8)))
    sheet_.legend(lines, found, loc="outside upper center", ncols=across, frameon=False,
                  fontsize=FONT)
    save(sheet_, path)


def _panel(
    panel: Any, groups: Sequence[Sequence[Run]], axis: str, target: float | None
) -> list[Any]:
    """Draw all groups over one axis; return their lines."""
    curves = [mean_curve(group, axis) for group in groups]
    size, unit = AXES[axis].unit(max((x.max() for x, *_ in curves if x.size), default=1.0))
    lines: list[Any] = []
    for i, (x, y, deviation) in enumerate(curves):
        colour = COLOURS[i % len(COLOURS)]
        lines += panel.plot(x / size, y, STYLES[i % len(STYLES)], color=colour, lw=1.2)
        if deviation.any():
            panel.fill_between(x / size, y - deviation, y + deviation, color=colour, alpha=0.2,
                               lw=0)
    if target is not None:
        panel.axhline(target, color="0.6", lw=0.6, zorder=0)
    title = AXES[axis].title
    panel.set_xlabel(f"{title} [{unit}]" if unit else title, fontsize=FONT)
    panel.tick_params(labelsize=FONT - 1)
    start_at_zero(panel, axis)
    panel.grid(color="0.9", lw=0.5)
    panel.spines[["top", "right"]].set_visible(False)
    return lines
