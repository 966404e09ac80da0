"""The section on the clients: their data and devices."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from fedmpi.analysis import partition_summary, quantities
from fedmpi.analysis.report.blocks import field
from fedmpi.analysis.report.bytes_sent import ramp
from fedmpi.analysis.report.figure import PlotArea, axes, ceiling, figure, steps, svg
from fedmpi.analysis.report.markup import Html, join, section, table, tag
from fedmpi.analysis.report.study import Study
from fedmpi.analysis.report.summary import MOST_NAMED, share
from fedmpi.arrays import AnyArray, Flags, Integers
from fedmpi.errors import listed
from fedmpi.record.reader import Run

CLASSES = 40  # drawn; more classes are added up in groups of neighbours
CELLS = 6000  # of the heat map
ROWS = 12  # of a table: partitions, tiers


def clients(study: Study) -> Html | None:
    """Return the section of partitions and devices, or None if the files have neither."""
    held = distinct(study, lambda run: run.partition.tobytes())
    held = [(run, names) for run, names in held if run.partition.sum() > 0]
    parts = []
    if held:
        counts = partition_summary.without_absent(held[0][0].partition)
        about = f"Drawn: the partition of {held[0][1][0]}."
        if len(held) > 1:
            about += f" The runs have {len(held)} different partitions."
        parts = [tag("p", about), tag("div", *drawings(counts), class_="figures"),
                 partitions(held)]
    shown = {run: tiers(run) for run in study.runs if len(run.devices)}
    devices = [device_table(*shown[run], names) for run, names in
               distinct(study, lambda run: str(shown.get(run)))[:ROWS] if run in shown]
    if not parts and not devices:
        return None
    return section("clients", "Clients: data and devices", *parts, *devices)


def distinct(study: Study, fact: Callable[[Run], Hashable]) -> list[tuple[Run, list[str]]]:
    """Return [(first run, [labels of runs])] for each value of fact(run)."""
    found: dict[Hashable, tuple[Run, list[str]]] = {}
    for run, row in zip(study.runs, study.rows, strict=True):
        found.setdefault(fact(run), (run, []))[1].append(row["run"])
    return list(found.values())


def drawings(counts: Integers) -> list[Html]:
    """Return the figures of int64[K, classes]: sizes, and the shares of classes."""
    shown = classes_of(counts)
    columns, step = partition_summary.columns_of(shown, max(20, min(200, CELLS // shown.shape[1])))
    sizes, title = columns.sum(axis=1), partition_summary.order(
        len(counts), step, counts.shape[1])
    frame = PlotArea((0.0, float(len(columns) * step)), (0.0, ceiling(sizes.max())))
    x = frame.across(np.arange(len(columns) + 1.0) * step)
    area = tag("path", class_="p0", d=steps(x, frame.up(sizes), frame.up(0.0)))
    top = svg("samples of each client", 240, area, *axes(frame, title),
              data_csv=",".join(["samples", *(f"{size:.10g}" for size in sizes)]))
    if counts.shape[1] == 1:  # all classes together
        return [figure("Samples of each client", top)]
    held = np.sqrt(columns / np.maximum(sizes, 1e-9)[:, None])
    notes = [share(part / counts.sum()) for part in shown.sum(axis=0)]
    names = ranges(counts, shown)
    below = field("share of each class in the samples of each client", held.T, names, notes,
                  title, len(columns), step)
    about = "Right: the class's share of all samples. The colour scale is a square root."
    return [figure("Samples of each client", top),
            figure("Classes of each client", join(ramp(), below), about)]


def classes_of(counts: Integers) -> Integers:
    """Return counts with at most CLASSES classes, adding up neighbours if there are more."""
    step = -(-counts.shape[1] // CLASSES)
    return np.add.reduceat(counts, np.arange(0, counts.shape[1], step), axis=1)


def ranges(counts: Integers, shown: Integers) -> list[str]:
    """Return the names of the classes shown: "class 3", or "4 to 7" for classes added up."""
    step = -(-counts.shape[1] // shown.shape[1])
    starts = range(0, counts.shape[1], step)
    if step == 1:
        return [f"class {start}" for start in starts]
    return [f"{start} to {min(start + step, counts.shape[1]) - 1}" for start in starts]


def partitions(held: Sequence[tuple[Run, list[str]]]) -> Html:
    """Return the table of the partitions `held`, as (run, labels of all runs that have it)."""
    found = [(listed(names, MOST_NAMED), partition_summary.rows(run.partition))
             for run, names in held[:ROWS]]
    facts = list(dict.fromkeys(name for _, pairs in found for name, _ in pairs))
    heads = ["Runs", *(name.capitalize() for name in facts)]
    rows = [[names, *(dict(pairs).get(name, "-").replace("  (min / median / max)", "")
                      for name in facts)] for names, pairs in found]
    caption = "Partitions; sizes and mixes are minimum / median / maximum over clients"
    if len(held) > ROWS:
        caption += f"; the first {ROWS} of {len(held)}"
    return table(caption, heads, rows, right=set(range(1, len(heads))))


def tier_of(run: Run) -> tuple[list[str], Flags]:
    """Return (names of tiers, uint8[N] each client's tier); a single tier if they are unknown."""
    if "tier" in run.devices:
        names, index = run.devices.kinds("tier", ROWS)
        if names is not None and index is not None:
            return names, index
    return ["all clients"], np.zeros(max(len(run.devices), run.population), np.uint8)


def tiers(run: Run) -> tuple[list[str], list[list[str]]]:
    """Return (heads, rows) of a run's devices: a row for each tier, texts."""
    names, index = tier_of(run)
    columns = [name for name in run.devices
               if name != "tier" and run.devices[name].dtype.kind in "iuf"]
    heads = ["Tier", "Clients", *(LABELS.get(name, name) for name in columns)]
    index = index[: len(run.devices)]
    rows = []
    for tier, name in enumerate(names):
        mine = index == tier
        rows.append([name, f"{mine.sum():,}",
                     *(extent(run.devices[column][mine]) for column in columns)])
    return heads, rows


def extent(values: AnyArray) -> str:
    """Return the single value of an array as text, or its lowest and highest."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "-"
    low, high = quantities.digits(float(finite.min())), quantities.digits(float(finite.max()))
    return low if low == high else f"{low} to {high}"


def device_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], names: Sequence[str]
) -> Html:
    """Return the table of the devices (see tiers) of the runs called `names`."""
    caption = f"Devices of {listed(names, MOST_NAMED)}"
    return table(caption, heads, rows, right=set(range(1, len(heads))))


LABELS = {"gflop_s": "GFLOP/s", "up_mbit_s": "Up, Mbit/s", "down_mbit_s": "Down, Mbit/s",
          "latency_s": "Latency, s", "availability": "Availability", "dropout": "Dropout",
          "memory_mb": "Memory, MB", "power_w": "Power, W", "idle_w": "Idle, W",
          "joule_per_mb": "J/MB", "shift_s": "Shift, s", "trace": "Trace"}
