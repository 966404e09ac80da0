"""A partition in words and as a figure: who holds what."""

import numpy as np

from fedmpi.analysis.draw import save, sheet

COLUMNS = 1000  # clients drawn one by one; more are drawn in groups of neighbours
BLOCK = 8192  # clients whose mixes are computed at a time: their shares fit in a cache
IN_ORDER = 200  # clients drawn in the order of their numbers; more are sorted


def text(counts):
    """Return the lines of `rows` as text in two columns, for a terminal."""
    return [f"{what:<20}{value}" for what, value in rows(counts)]


def rows(counts):
    """Return pairs (what, value) of text that describe int64[K, classes] counts.

    The entropy of a client's labels is given in "effective classes", exp(H): 1 for a
    single class, all for an even mix. The distance to iid is the total variation between
    a client's label shares and those of all samples: 0 is iid, near 1 is one class only.
    Clients without samples count for the sizes only. A single class has no mixes: it stands for
    all classes together where clients draw their samples on demand.
    """
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


def mixes(held, overall):
    """Return (classes, entropy, distance to iid) of int64[k, classes] of clients with samples."""
    present = held > 0
    share = held / held.sum(axis=1, keepdims=True)
    entropy = -(share * np.log(np.where(present, share, 1))).sum(axis=1)
    return present.sum(axis=1), entropy, np.abs(share - overall).sum(axis=1) / 2


def _spread(values, form):
    low, mid, high = (form.format(v) for v in (values.min(), np.median(values), values.max()))
    return f"{low} / {mid} / {high}  (min / median / max)"


def draw(counts, path, title=""):
    """Draw int64[K, classes] counts to a picture file: sizes above, label shares below.

    One column for each client; white is none, and the colours are spread by the square
    root so that small shares show. More than 200 clients are sorted by their largest class,
    then by size; beyond 1,000 a column is the mean of neighbours in that order. Raises
    ResultError without matplotlib (extra [analysis]), ConfigError for another suffix than
    .png, .svg or .pdf.
    """
    columns, step = columns_of(counts)
    sizes = columns.sum(axis=1)
    share = np.ma.masked_equal((columns / np.maximum(sizes, 1e-9)[:, None]).T, 0)
    figure = sheet(path, (10, 4 + min(len(share), 40) * 0.07))
    from matplotlib.colors import PowerNorm  # after sheet, which knows what to say without it

    top, middle = figure.subplots(2, 1, height_ratios=[1, 2.4], sharex=True)
    edges = np.minimum(np.arange(len(sizes) + 1) * step, len(counts)) - 0.5
    top.stairs(sizes, edges, fill=True, color="#4c6a92")
    image = middle.pcolormesh(
        edges, np.arange(len(share) + 1) - 0.5, share, cmap="magma_r", norm=PowerNorm(0.5, 0, 1)
    )
    _label(top, middle, len(counts), len(share), step)
    top.set_title(title or f"{len(counts):,} clients, {counts.sum():,} samples", loc="left")
    bar = figure.colorbar(image, ax=[top, middle], pad=0.01)
    bar.set_label("share of the client's samples")
    bar.set_ticks([0, 0.02, 0.1, 0.25, 0.5, 0.75, 1])
    save(figure, path)


def columns_of(counts, most=COLUMNS):
    """Return float64[columns, classes] to draw, and how many clients a column stands for.

    At most `most` columns, in the order that `draw` describes.
    """
    if len(counts) > IN_ORDER:
        counts = counts[np.lexsort((-counts.sum(axis=1), counts.argmax(axis=1)))]
    step = max(1, -(-len(counts) // most))
    starts = np.arange(0, len(counts), step)
    clients = np.diff(np.append(starts, len(counts)))
    return np.add.reduceat(counts, starts) / clients[:, None], step


def order(clients, step):
    """Return the title of the axis of `clients`, of which a column shows `step`."""
    label = "client" if clients <= IN_ORDER else "clients, sorted by largest class, then by size"
    return label + (f" (means of {step})" if step > 1 else "")


def _label(top, middle, clients, classes, step):
    for axes in (top, middle):
        axes.spines[["top", "right"]].set_visible(False)
    top.set_ylabel("samples")
    top.set_ylim(0, None)
    top.yaxis.set_major_formatter("{x:,.0f}")
    top.grid(axis="y", alpha=0.3)
    top.tick_params(axis="x", labelbottom=False)
    middle.set_xlabel(order(clients, step))
    middle.set_ylabel("class")
    middle.xaxis.get_major_locator().set_params(integer=True)
    middle.set_yticks(np.arange(0, classes, 1 if classes <= 20 else 10))
    middle.set_ylim(classes - 0.5, -0.5)
