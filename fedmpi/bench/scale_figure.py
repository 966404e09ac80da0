"""The figure of `fedmpi bench scale`: predicted sums of a round, and efficiency, over ranks."""

from collections.abc import Sequence
from typing import Any

from fedmpi.analysis.draw import COLOURS, save, sheet
from fedmpi.bench.measure import Found

MARKERS = "osD^vx"
SHOWN = "FedSkel", "FedDIP"  # the sparsest sums and the densest


def draw(found: Found, path: str) -> None:
    """Draw the results of scale.run, with a column of panels for each network.

    From top to bottom: sums of real methods, algorithms, and the efficiency of whole rounds.

    Raises ResultError without matplotlib (extra [analysis]), ConfigError if the name does not
    end in .png, .svg or .pdf.
    """
    networks = list(dict.fromkeys(row["network"] for row in found["rows"]))
    figure = sheet(path, (9, 10))
    panels = figure.subplots(3, len(networks), sharex=True, squeeze=False)
    titles = "five methods, VGG-11", "algorithms, 10 million coordinates, 1 %"
    for line, (key, title) in enumerate(zip(("methods", "rows"), titles, strict=True)):
        for panel, network in zip(panels[line], networks, strict=True):
            rows = [row for row in found[key] if row["network"] == network]
            lines = _panel(panel, rows, f"{network}: {title}")
            if key == "rows":
                panel.set_yscale("log")
                panel.minorticks_off()
            else:
                panel.set_ylim(bottom=0)
            panel.yaxis.set_major_formatter("{x:,g}")
        panels[line][-1].legend(handles=lines, loc="best", frameon=False, fontsize="small")
        panels[line][0].set_ylabel("predicted milliseconds")
    for panel, network in zip(panels[2], networks, strict=True):
        rows = [efficiency(row) for row in found["rounds"] if row["network"] == network]
        rows = [row for row in rows if row["method"].startswith(SHOWN)]
        lines = _panel(panel, rows, f"{network}: whole rounds", "efficiency", 1.0)
        panel.set_ylim(0, max(1.05, panel.get_ylim()[1]))  # weak scaling can pass 1
    panels[2][-1].legend(handles=lines, loc="best", frameon=False, fontsize="small")
    panels[2][0].set_ylabel("efficiency over one rank")
    for panel in panels[-1]:
        panel.set_xlabel("ranks, one on each node")
    save(figure, path)


def efficiency(row: Found) -> Found:
    """Return a row of whole rounds, renamed for the legend."""
    return row | {"method": f"{row['method']}, {row['scaling']}"}


def _panel(
    panel: Any, rows: Sequence[Found], title: str, column: str = "seconds", unit: float = 1e3
) -> list[Any]:
    """Draw a line for each method; return the lines. Markers differ in size if lines coincide."""
    lines: list[Any] = []
    for i, name in enumerate(dict.fromkeys(row["method"] for row in rows)):
        mine = [row for row in rows if row["method"] == name]
        lines += panel.plot(
            [row["ranks"] for row in mine], [unit * row[column] for row in mine], lw=1.4,
            marker=MARKERS[i], ms=11 - 1.5 * i, mfc="none", color=COLOURS[i], label=name,
        )  # fmt: skip
    panel.set_xscale("log", base=4)
    ranks = sorted({row["ranks"] for row in rows})
    panel.set_xticks(ranks, [f"{count:,}" for count in ranks])
    panel.minorticks_off()
    panel.set_title(title, fontsize="small")
    panel.grid(color="0.9", lw=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    return lines
