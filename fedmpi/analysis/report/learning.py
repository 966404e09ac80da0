"""The section on learning: accuracy over rounds, bytes and virtual time; losses over rounds."""

import numpy as np

from fedmpi.analysis import curves, quantities
from fedmpi.analysis.report.figure import Curve, figure, frame_of, lines
from fedmpi.analysis.report.markup import Html, details, section, table, tag
from fedmpi.analysis.report.study import Group, Study
from fedmpi.analysis.report.summary import swatch

OTHERS = (  # further columns of /rounds to draw over rounds: (column, title)
    ("train_loss", "Training loss"),
    ("test_loss", "Test loss"),
    ("local_accuracy", "Local accuracy"),
)
COLUMNS = 11  # of the table of curves as numbers


def progress(study: Study) -> Html:
    """Return the section of the curves."""
    about = "Test accuracy at the end of each evaluated round."
    if any(len(group.runs) > 1 for group in study.groups):
        about += (" Lines are means over the runs of a configuration, bands reach from the lowest"
                  " to the highest run. Both end with the shortest run.")
    if study.target is not None:
        about += f" The thin horizontal line is the target, {study.target:.6g}."
    names = {"rounds": "Over rounds", "bytes": "Over bytes sent", "seconds": "Over virtual time"}
    main = [panel(study, axis, "test_accuracy", title, study.target)
            for axis, title in names.items()]
    judged = [(name, title_of(name)) for name in metrics_of(study)]
    more = [panel(study, "rounds", column, title) for column, title in (*OTHERS, *judged)
            if any(len(band(group, "rounds", column, "").x) for group in study.groups)]
    return section(
        "progress", "Accuracy and loss", tag("p", about), legend(study),
        tag("div", *main, class_="figures"), numbers(study), last_metrics(study),
        tag("div", *more, class_="figures") if more else None,
    )  # fmt: skip


def metrics_of(study: Study) -> tuple[str, ...]:
    """Return the columns of the metrics that any run measures."""
    return tuple(dict.fromkeys(name for run in study.runs for name in run.metric_names))


def title_of(metric: str) -> str:
    """Return the title of a metric's column."""
    words = metric.replace("_", " ")
    return words.upper() if len(words) < 4 else words[:1].upper() + words[1:]


def last_metrics(study: Study) -> Html | None:
    """Return the table of the metrics of the last evaluation, or None if no run has any."""
    names = metrics_of(study)
    if not names:
        return None
    rows = []
    for group in study.groups:
        drawn = [band(group, "rounds", name, group.name).y for name in names]
        rows.append((swatch(group), *(f"{y[-1]:.4g}" if y.size else "-" for y in drawn)))
    head = ("Configuration", *map(title_of, names))
    return table("Metrics of the last evaluation", head, rows, right=set(range(1, len(head))))


def legend(study: Study) -> Html | None:
    """Return the legend, with a check box that shows or hides each configuration."""
    if len(study.groups) < 2:
        return None
    items = (tag("label", tag("input", type="checkbox", id=f"show-{group.index}", checked=True),
                 " ", swatch(group)) for group in study.groups)
    return tag("fieldset", tag("legend", "Configurations drawn"), *items, class_="legend")


def panel(
    study: Study, axis: str, column: str, title: str, target: float | None = None
) -> Html:
    """Return the figure of a column of /rounds over an axis."""
    of_axis = curves.AXES[axis]
    drawn = [band(group, axis, column, group.name) for group in study.groups]
    edges = [edge for curve in drawn for edge in (
        (curve.y,) if curve.low is None or curve.high is None else (curve.low, curve.high))]
    heights = np.concatenate(edges)
    accuracy = column.endswith("accuracy") and heights.size
    frame = frame_of(drawn, of_axis.units, curves.y_range(heights) if accuracy else None)
    name = column.replace("_", " ")
    drawing = lines(f"{name} over {of_axis.title}", drawn, frame, of_axis.title, target)
    return figure(title, drawing)


def band(group: Group, axis: str, column: str, name: str) -> Curve:
    """Return the Curve of a group: the mean of its runs, and their lowest and highest.

    If the runs have points at different x, they are interpolated linearly first.
    """
    found = []
    for run in (run for run in group.runs if column in run.rounds):
        x, y = curves.series(run, axis, column)
        finite = np.isfinite(x) & np.isfinite(y)
        if finite.any():
            found.append((x[finite], y[finite]))
    if not found:
        return Curve(group.index, name, np.zeros(0), np.zeros(0))
    if len(found) == 1:
        return Curve(group.index, name, *found[0])
    first, last = max(x[0] for x, _ in found), min(x[-1] for x, _ in found)
    x = np.unique(np.concatenate([x for x, _ in found]))
    x = x[(x >= first) & (x <= last)]
    y = np.array([np.interp(x, *points) for points in found])
    return Curve(group.index, name, x, y.mean(0), y.min(0), y.max(0))


def numbers(study: Study) -> Html | None:
    """Return the accuracies over rounds as a table in a folded part."""
    drawn = [band(group, "rounds", "test_accuracy", group.name) for group in study.groups]
    longest = max((curve.x for curve in drawn), key=len)
    if not longest.size:
        return None
    shown = np.unique(longest[np.linspace(0, len(longest) - 1, COLUMNS).round().astype(int)])
    rows = []
    for group, curve in zip(study.groups, drawn, strict=True):
        cells = ["-"] * len(shown)
        if curve.x.size:
            values = np.interp(shown, curve.x, curve.y, left=np.nan, right=np.nan)
            cells = [quantities.accuracy(float(value)) for value in values]
        rows.append((swatch(group), *cells))
    head = ("Configuration", *(f"{number:.0f}" for number in shown))
    return details("The curves over rounds as numbers",
                   table("Test accuracy after the given number of rounds", head, rows,
                         right=set(range(1, len(head)))))
