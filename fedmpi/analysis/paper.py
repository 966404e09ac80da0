"""A figure for a paper: mean accuracy and its spread over seeds, in one or two columns' width."""

from collections.abc import Sequence

import numpy as np

from fedmpi.analysis.configs import grouped
from fedmpi.analysis.curves import AXES
from fedmpi.analysis.draw import draw_panel, legend, save, sheet
from fedmpi.record.reader import Run

SIZES = {1: (3.5, 5.4), 2: (7.16, 2.6)}  # inches, of a column and of a page of IEEE and ACM
FONT = 8  # points
ROOM = {1: 48, 2: 98}  # letters of the font in a line of the legend


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
    groups, found = grouped(runs, each=False)
    for panel, axis in zip(panels, AXES, strict=True):
        lines = draw_panel(panel, groups, axis, target, width=1.2)
        panel.xaxis.label.set_fontsize(FONT)
        panel.tick_params(labelsize=FONT - 1)
    for panel in panels if columns == 1 else panels[:1]:
        panel.set_ylabel("test accuracy", fontsize=FONT)
    legend(sheet_, lines, found, ROOM[columns], fontsize=FONT)
    save(sheet_, path)
