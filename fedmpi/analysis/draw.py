"""Test accuracy over rounds, bytes and virtual seconds, as one picture."""

import os
from collections.abc import Sequence
from typing import Any

from fedmpi.analysis.configs import grouped
from fedmpi.analysis.curves import AXES, mean_curve
from fedmpi.analysis.quantities import shortened
from fedmpi.errors import ConfigError, ResultError, unwritable
from fedmpi.record.atomic import replacement
from fedmpi.record.reader import Run

SUFFIXES = (".png", ".svg", ".pdf")
# Distinguishable with any colour vision (Okabe and Ito 2008); dark colours first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", ":", "-.")
ROOM = 120  # letters of a legend's line
SAMPLE = 8  # letters that the sample of a line and the gaps take in a legend


def draw(
    runs: Sequence[Run], path: str, target: float | None = None, each: bool = True
) -> None:
    """Draw the accuracies of Runs over rounds, bytes and virtual seconds into a picture file.

    A line is a run, or without `each` the mean over the runs of a configuration, in a band of one
    standard deviation. `target`, if given, is drawn as a thin horizontal line. Raises ResultError
    without matplotlib (extra [analysis]), ConfigError if the name does not end in .png, .svg or
    .pdf.
    """
    figure = sheet(path, (11, 4))
    figure.get_layout_engine().set(w_pad=0.1)
    groups, found = grouped(runs, each)
    panels = figure.subplots(1, len(AXES), sharey=True)
    for panel, axis in zip(panels, AXES, strict=True):
        lines = draw_panel(panel, groups, axis, target)
    panels[0].set_ylabel("test accuracy")
    if len(groups) > 1:
        legend(figure, lines, found, ROOM)
    else:
        figure.suptitle(literal(shortened(found[0], ROOM)), fontsize="medium")
    save(figure, path)


def legend(
    figure: Any, lines: Sequence[Any], names: Sequence[str], room: int, **style: Any
) -> None:
    """Draw the legend above all panels of `figure`, whose width has room for `room` letters."""
    shown = [shortened(name, room - SAMPLE) for name in names]
    across = max(1, min(len(shown), room // (max(map(len, shown)) + SAMPLE)))
    figure.legend(lines, list(map(literal, shown)), loc="outside upper center", ncols=across,
                  frameon=False, **style)


def literal(name: str) -> str:
    """Return a run's name escaped for matplotlib, which reads text between dollars as formulas."""
    return name.replace("$", r"\$")


def sheet(path: str, size: tuple[float, float]) -> Any:
    """Return an empty matplotlib Figure of `size` in inches, for `path`; errors as in `draw`."""
    return figure_class(path)(figsize=size, dpi=150, layout="constrained")


def figure_class(path: str) -> Any:
    """Return matplotlib's class Figure if it can draw `path`; errors as in `draw`."""
    if os.path.splitext(path)[1].lower() not in SUFFIXES:
        raise ConfigError(f"{path}: the name of a picture must end in {', '.join(SUFFIXES)}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        hint = "pip install 'fedmpi[analysis]'"
        raise ResultError(f"{path}: drawing needs matplotlib: {hint}") from error
    return Figure


def draw_panel(
    panel: Any, groups: Sequence[Sequence[Run]], axis: str, target: float | None, width: float = 1.6
) -> list[Any]:
    """Draw the means over groups of Runs over one axis, in bands; return the lines, in order.

    `width` is that of the lines, in points.
    """
    curves = [mean_curve(group, axis) for group in groups]
    size, unit = AXES[axis].unit(max((x.max() for x, *_ in curves if x.size), default=1.0))
    lines: list[Any] = []
    for i, (x, y, deviation) in enumerate(curves):
        colour, style = COLOURS[i % len(COLOURS)], STYLES[i % len(STYLES)]  # differ without colour
        marker = "o" if x.size < 2 else ""
        lines += panel.plot(x / size, y, style, color=colour, lw=width, marker=marker)
        if deviation.any():
            panel.fill_between(x / size, y - deviation, y + deviation, color=colour, alpha=0.2,
                               lw=0)
    if target is not None:
        panel.axhline(target, color="0.6", lw=width / 2, zorder=0)
    panel.set_xlabel(f"{AXES[axis].title} [{unit}]" if unit else AXES[axis].title)
    start_at_zero(panel, axis)
    panel.grid(color="0.9", lw=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    return lines


def start_at_zero(panel: Any, axis: str) -> None:
    """Start the x axis at 0, with few ticks, so that labels of neighbouring panels do not touch."""
    panel.set_xlim(left=0)
    panel.locator_params(axis="x", nbins=5, integer=axis == "rounds")


def save(figure: Any, path: str) -> None:
    """Write the picture atomically: the whole file, or no file."""
    from matplotlib import rc_context

    try:
        # TrueType: IEEE and ACM refuse a PDF with fonts of type 3.
        truetype = rc_context({"pdf.fonttype": 42})
        with replacement(path) as part, open(part, "wb") as file, truetype:
            figure.savefig(file, format=os.path.splitext(path)[1][1:].lower())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from error
