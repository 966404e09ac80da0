"""The sections on traffic: bytes of every round by purpose, and the share kept of every layer."""

import numpy as np

from fedmpi.analysis import quantities
from fedmpi.analysis.report.blocks import field
from fedmpi.analysis.report.figure import PlotArea, ceiling, figure, stacks
from fedmpi.analysis.report.learning import panel
from fedmpi.analysis.report.markup import Html, join, section, table, tag
from fedmpi.analysis.report.study import Group, Study
from fedmpi.analysis.report.summary import key, share, swatch
from fedmpi.arrays import Reals

CELLS = 16_000  # of all heat maps of a page together
DENSITIES = (
    ("model_density", "Model: coordinates not pruned"),
    ("density_up", "One client: coordinates sent"),
    ("density_union", "All clients: sent by at least one"),
)
PARTS = (("p0", "up: values"), ("p3", "up: which coordinates"), ("p4", "up: frame"))


def traffic(study: Study) -> Html:
    """Return the section of bytes."""
    bytes_ = {group: parts(group) for group in study.groups}
    tops = [max(up.sum(0).max(initial=0), down.max(initial=0)) for up, down in bytes_.values()]
    rounds = max(up.shape[1] for up, _ in bytes_.values())
    frame = PlotArea((0.0, float(max(rounds, 1))), (0.0, ceiling(max(tops))))
    drawn = [figure(group.name, stacks(f"bytes of each round, {group.name}", *found, frame,
                                        PARTS, "down"))
             for group, found in bytes_.items()]
    _, unit = quantities.axis_unit(frame.y[1], quantities.BYTES)
    about = (f"Encoded messages of all clients of a round in {unit}. Colours:"
             " sent by the clients; line: received by them. All panels have the same scale.")
    return section(
        "bytes", "Bytes", tag("p", about),
        key(*PARTS, line="down"),
        tag("div", *drawn, class_="figures"), totals(study),
    )  # fmt: skip


def parts(group: Group) -> tuple[Reals, Reals]:
    """Return (float64[3, R] bytes up by purpose, float64[R] bytes down), means over the runs."""
    names = ("bytes_up", "bytes_up_values", "bytes_up_support", "bytes_down")
    up, values, support, down = group.each_round(
        lambda run: np.stack([run.rounds[name] for name in names], axis=1)).T
    return np.maximum([values, support, up - values - support], 0), down


def totals(study: Study) -> Html:
    """Return the table of bytes and densities."""
    head = ("Configuration", "Up", "values", "coordinates", "frame", "Down", "One client up",
            "One client down", "Density up", "Density of the union", "Model density")
    rows = []
    for group in study.groups:
        up, values, support, down = (
            group.total(name) for name in ("bytes_up", "bytes_up_values", "bytes_up_support",
                                           "bytes_down"))
        found = (values, support, up - values - support)
        clients = max(group.total("clients_selected"), 1)
        rows.append((
            swatch(group), quantities.in_bytes(up),
            *(share(part / up if up else None) for part in found),
            quantities.in_bytes(down), quantities.in_bytes(up / clients),
            quantities.in_bytes(down / clients), share(group.mean("density_up")),
            share(group.mean("density_union")), share(group.last("model_density")),
        ))  # fmt: skip
    caption = ("Bytes of the whole run. Shares of the bytes up: values; coordinates (the list of"
               " sent coordinates); frame (headers, checksums, and bytes that late clients had"
               " sent at the deadline)")
    return table(caption, head, rows, right=set(range(1, len(head))))


def kept(study: Study) -> Html | None:
    """Return the section on the kept shares of model and layers, or None if no file has any."""
    shown = [group for group in study.groups if shares(group).size]
    if not shown:
        return None
    rows = sum(shares(group).shape[1] for group in shown)
    columns = int(np.clip(CELLS // rows, 20, 120))
    drawn = []
    for group in shown:
        values = shares(group)
        notes = [share(float(value)) for value in np.nan_to_num(values).mean(0)]
        title = f"share kept of each layer over rounds, {group.name}"
        names = list(group.runs[0].layer_names)
        drawn.append(figure(group.name, field(title, values.T, names, notes, "rounds", columns)))
    about = ("Shares by layer: the share of a layer's coordinates that clients sent, as a mean"
             " over the clients of a round. At the right: the mean over all rounds.")
    return section("kept", "Sparsity", densities(study), tag("p", about), ramp(),
                   tag("div", *drawn, class_="figures"))


def densities(study: Study) -> Html | None:
    """Return the curves of the densities that are not always 1, or None."""
    shown = [(column, title) for column, title in DENSITIES
             if any((run.rounds[column] != 1).any() for run in study.runs)]
    if not shown:
        return None
    about = "Density over rounds: the share of all coordinates. Lines as in the curves above."
    drawn = (panel(study, "rounds", column, title) for column, title in shown)
    return join(tag("p", about), tag("div", *drawn, class_="figures"))


def shares(group: Group) -> Reals:
    """Return float64[R, L]: the share kept by round and layer, the mean over the runs."""
    return group.each_round(lambda run: run.layers["kept"])


def ramp() -> Html:
    """Return the legend of a heat map's colours, from 0 to 100 %."""
    steps = (tag("rect", x=i * 8, width=8, height=12, fill_opacity=f"{i / 16:.3g}")
             for i in range(1, 17))
    drawing = tag("svg", tag("rect", class_="box", width=136, height=12),
                  tag("g", *steps, class_="field"), viewBox="0 0 136 12", class_="ramp",
                  aria_hidden="true")
    return tag("p", "0 % ", drawing, " 100 %", class_="key")
