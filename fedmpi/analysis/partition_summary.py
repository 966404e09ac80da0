"""A partition in words and as a figure: the samples and classes of each client."""

from typing import Any

import numpy as np

from fedmpi.analysis.draw import save, sheet
from fedmpi.arrays import AnyArray, Integers, Reals

COLUMNS = 1000  # clients drawn one by one; more are drawn in groups of neighbours
BLOCK = 8192  # clients whose mixes are computed at a time: their shares fit in a cache
IN_ORDER = 200  # up to this many clients are drawn in the order of their ids; more are sorted


def text(counts: Integers) -> list[str]:
    """Return the lines of `rows` as text in two columns, for a terminal."""
    return [f"{what:<20}{value}" for what, value in rows(counts)]


def rows(counts: Integers) -> list[tuple[str, str]]:
    """Return pairs (what, value) of text that describe int64[K, classes] counts.

    The entropy of a client's labels is given in "effective classes", exp(H): 1 for a
    single class, all for an even mix. The distance to iid is the total variation between
    a client's label shares and those of all samples: 0 is iid, near 1 is one class only.
    Clients without samples count for the sizes only. With a single class there are no mixes: it
    stands for all classes together if clients draw their samples on demand.
    """
    counts = without_absent(counts)
    sizes = counts.sum(axis=1)
    found = [
        ("clients", f"{len(counts):,}" + (f" ({(sizes == 0).sum():,} empty)" * (0 in sizes))),
        ("samples", f"{sizes.sum():,}"),
        ("samples per client", _spread(sizes, "{:,.0f}")),
    ]
    if counts.shape[1] == 1:
        return found
    held = counts if (sizes > 0).all() else counts[sizes > 0]
    overall = counts.sum(axis=0) / sizes.sum()
    blocks = [mixes(held[i : i + BLOCK], overall) for i in range(0, max(len(held), 1), BLOCK)]
    classes, entropy, distance = map(np.concatenate, zip(*blocks, strict=True))
    return [
        *found,
        ("classes per client", _spread(classes, "{:.0f}")),
        ("effective classes", _spread(np.exp(entropy), "{:.1f}")),
        ("distance to iid", _spread(distance, "{:.2f}")),
    ]


def without_absent(counts: Integers) -> Integers:
    """Return int64[K, 1] if only one class occurs, as for targets that are numbers, else counts."""
    return counts if counts.any(axis=0).sum() > 1 else counts.sum(axis=1, keepdims=True)


def mixes(held: Integers, overall: Reals) -> tuple[Integers, Reals, Reals]:
    """Return (classes, entropy, distance to iid) of clients with samples int64[k, classes]."""
    present = held > 0
    share = held / held.sum(axis=1, keepdims=True)
    entropy = -(share * np.log(np.where(present, share, 1))).sum(axis=1)
    return present.sum(axis=1), entropy, np.abs(share - overall).sum(axis=1) / 2


def _spread(values: AnyArray, form: str) -> str:
    low, mid, high = (form.format(v) for v in (values.min(), np.median(values), values.max()))
    return f"{low} / {mid} / {high}  (min / median / max)"


def draw(counts: Integers, path: str, title: str = "") -> None:
    """Draw int64[K, classes] counts to a picture file: sizes above, label shares below.

    Each client has a column. White is a share of 0, and the colour scale is a square root, so that
    small shares show. More than 200 clients are sorted by their largest class, then by size; for
    more than 1,000 a column is the mean of neighbours in that order. With a single class, as for
    samples drawn on demand, only sizes are drawn. Raises ResultError without matplotlib (extra
    [analysis]), ConfigError for a suffix other than .png, .svg or .pdf.
    """
    counts = without_absent(counts)
    columns, step = columns_of(counts)
    sizes, classes = columns.sum(axis=1), counts.shape[1]
    edges = np.minimum(np.arange(len(sizes) + 1) * step, len(counts)) - 0.5
    if classes == 1:
        figure = sheet(path, (10, 3))
        top = bottom = figure.subplots()
    else:
        figure = sheet(path, (10, 4 + min(classes, 40) * 0.07))
        top, bottom = figure.subplots(2, 1, height_ratios=[1, 2.4], sharex=True)
        _draw_shares(figure, top, bottom, columns, edges)
    _draw_sizes(top, sizes, edges)
    top.set_title(title or f"{len(counts):,} clients, {counts.sum():,} samples", loc="left")
    bottom.set_xlabel(order(len(counts), step, classes))
    bottom.set_xlim(edges[0], edges[-1])
    bottom.xaxis.get_major_locator().set_params(integer=True)
    save(figure, path)


def columns_of(counts: Integers, most: int = COLUMNS) -> tuple[Reals, int]:
    """Return float64[columns, classes] to draw, and the number of clients in a column.

    There are at most `most` columns, in the order that `draw` describes.
    """
    if len(counts) > IN_ORDER:
        counts = counts[np.lexsort((-counts.sum(axis=1), counts.argmax(axis=1)))]
    step = max(1, -(-len(counts) // most))
    starts = np.arange(0, len(counts), step)
    clients = np.diff(np.append(starts, len(counts)))
    return np.add.reduceat(counts, starts) / clients[:, None], step


def order(clients: int, step: int, classes: int) -> str:
    """Return the title of the axis of `clients`, with `step` clients in a column."""
    by = "size" if classes == 1 else "largest class, then by size"
    label = "client" if clients <= IN_ORDER else f"clients, sorted by {by}"
    return label + (f" (means of {step})" if step > 1 else "")


def _draw_sizes(axes: Any, sizes: Reals, edges: Reals) -> None:
    """Draw how many samples each column's client holds."""
    axes.stairs(sizes, edges, fill=True, color="#4c6a92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("samples")
    axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", alpha=0.3)


def _draw_shares(figure: Any, top: Any, axes: Any, columns: Reals, edges: Reals) -> None:
    """Draw the shares of the classes, float64[columns, classes], below the axes `top`."""
    from matplotlib.colors import PowerNorm  # after `sheet`, which reports a missing matplotlib

    classes = columns.shape[1]
    share = (columns / np.maximum(columns.sum(axis=1), 1e-9)[:, None]).T
    image = axes.pcolormesh(edges, np.arange(classes + 1) - 0.5, np.ma.masked_equal(share, 0),
                            cmap="magma_r", norm=PowerNorm(0.5, 0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("class")
    axes.set_yticks(np.arange(0, classes, 1 if classes <= 20 else 10))
    axes.set_ylim(classes - 0.5, -0.5)
    top.tick_params(axis="x", labelbottom=False)
    bar = figure.colorbar(image, ax=[top, axes], pad=0.01)
    bar.set_label("share of the client's samples")
    bar.set_ticks([0, 0.02, 0.1, 0.25, 0.5, 0.75, 1])
