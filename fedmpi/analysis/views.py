"""The papers' conventions for counting traffic, beside the bytes of the encoded messages.

The papers count different things: parameters or bits, one direction or both, masks free or
not. Each function here applies one convention to the values that a result file recorded, so that
published numbers can be compared with numbers of the same kind. None of them is the real cost,
which is the length of the encoded messages in the first column of `text`.

d is the number of coordinates of the model, s_t the sparsity in the run's schedule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedmpi.analysis import quantities
from fedmpi.arrays import AnyArray, Bools, Integers, Reals
from fedmpi.record.reader import Run
from fedmpi.record.source import reading
from fedmpi.sparsity import cubic

BITS = 32  # of a value, in all of the papers
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
MASKED = ("lotteryfl", "feddst", "prunefl", "static-mask", "feddip", "dpf")
HEAD = ("run", "bytes", "FedLP", "FedDIP", "FedDST down", "up", "LotteryFL", "LG-FedAvg",
        "inference", "saved")  # fmt: skip
UNITS = ("", "all", "params", "Mibit all", "kbit", "kbit", "share", "share", "MFLOP", "")


@dataclass(frozen=True, eq=False)
class Traffic:
    """The traffic of a finished run, as the views need it.

    `down` and `up` are float64[R, L]: values sent by round and layer, all clients together;
    `clients` int64[R] is the number of participants; `sizes` and `learned` int64[L] are each
    layer's coordinates, and the coordinates that training changes; `weights` is the number of
    entries of arrays with two dimensions or more, to which masks apply.
    """

    down: Reals
    up: Reals
    clients: Integers
    sizes: Integers
    learned: Integers
    weights: int

    @property
    def size(self) -> int:
        """The number of coordinates, d."""
        return int(self.sizes.sum())


def traffic(run: Run) -> Traffic | None:
    """Return the Traffic of a Run, or None if it has no rounds or no weights yet."""
    if run.weights_sha256 is None or not len(run.rounds):
        return None
    arrays = run.model()
    sizes, learned = _by_layer(arrays, run.layer_names)
    return Traffic(
        down=run.layers["bytes_down"] * 8 / BITS,
        up=run.layers["bytes_up"] * 8 / BITS,
        clients=run.rounds["clients_selected"],
        sizes=sizes,
        learned=learned,
        weights=sum(array.size for array in arrays.values() if array.ndim > 1),
    )


def view(run: Run) -> dict[str, Any] | None:
    """Return a dict of a Run's traffic by each convention, or None for a Run without weights.

    "bytes" are the encoded messages of the whole run, both directions; the functions below define
    the others. lotteryfl and lg_fedavg are None without rows of clients. inference is the FLOPs of
    one sample through the last global model, None if they were not counted.
    """
    sent = traffic(run)
    if sent is None:
        return None
    with reading(run.path):  # its configuration may lack keys that its method needs
        down, up = feddst(run, sent)
        return {
            "bytes": int(run.rounds["bytes_down"].sum() + run.rounds["bytes_up"].sum()),
            "fedlp": fedlp(sent),
            "feddip": feddip(run, sent),
            "feddst_down": down,
            "feddst_up": up,
            "lotteryfl": lotteryfl(run, sent),
            "lg_fedavg": lg_fedavg(run),
            "inference": inference(run),
        }


def inference(run: Run) -> float | None:
    """Return the FLOPs of one sample through the global model, two for each multiply-add.

    This is the count of methods for inference, above all ADP: a pruned weight or a closed channel
    costs nothing, in any layer. None if the file has an old schema without this column.
    """
    if "flops_inference" not in run.rounds:
        return None
    last = float(run.rounds["flops_inference"][-1])
    return None if np.isnan(last) else last


def fedlp(sent: Traffic) -> float:
    """Return the parameters that a client receives and sends in a round, on average.

    All learned parameters count, including the scale and shift of normalisation; its running
    statistics and the numbers of layers are free.
    """
    share = sent.learned / np.maximum(sent.sizes, 1)
    return float(((sent.down + sent.up) * share).sum() / max(sent.clients.sum(), 1))


def feddip(run: Run, sent: Traffic) -> float:
    """Return Mebibits of a whole run, both directions: 32 (1 - s) d for each client and round.

    For FedDIP s is s_t on the way down, regardless of its mask, and 0 on the way up; all other
    methods count the values they sent. Masks are free, except for PruneFL: it sends the first model
    to every client, drawn or not, and a mask costs 4 bits for each weight that it keeps.
    """
    down, up = sent.down.sum(axis=1), sent.up.sum(axis=1)
    keys = _keys(run)
    if keys.get("name") == "feddip":
        planned, start, end = run.config["run"]["rounds"], keys["start"], keys["end"]
        wanted = [cubic(number, planned, start, end) for number in range(len(down))]
        down = (1 - np.array(wanted)) * sent.size * sent.clients
    bits = BITS * (down.sum() + up.sum())
    if keys.get("name") == "prunefl":
        bits += (BITS + 4) * sent.size * run.population
        bits += 4 * down[_after(_moves(keys, len(down)))].sum()
    return float(bits / 2**20)


def feddst(run: Run, sent: Traffic) -> tuple[float, float]:
    """Return (down, up): kilobits of a client in a round, on average.

    A value costs 32 bits. A changed mask costs one bit for each weight on the way down in the next
    round, and for FedDST one bit for each kept weight on the way up if clients changed it. The
    first model is free, since a seed determines it.
    """
    down, up = BITS * sent.down.sum(axis=1), BITS * sent.up.sum(axis=1)
    down[0] = 0
    keys = _keys(run)
    moved = _moves(keys, len(down))
    down[_after(moved)] += sent.weights * sent.clients[_after(moved)]
    if keys.get("name") == "feddst":
        up[moved] += (1 - keys["sparsity"]) * sent.weights * sent.clients[moved]
    total = 1000 * max(sent.clients.sum(), 1)
    return float(down.sum() / total), float(up.sum() / total)


def lotteryfl(run: Run, sent: Traffic) -> float | None:
    """Return the share of the weights that clients hold and send, the mean over clients.

    For methods that mask weights, biases, normalisation and masks are free. None without rows of
    clients, as with run.record_clients = "none".
    """
    kept = _kept(run)
    if _keys(run).get("name") in MASKED:
        free = sent.size - sent.weights
        kept = np.maximum(kept * sent.size - free, 0) / max(sent.weights, 1)
    return float(kept.mean()) if kept.size else None


def lg_fedavg(run: Run) -> float | None:
    """Return the share of the parameters that clients send, the mean over clients, or None."""
    kept = _kept(run)
    return float(kept.mean()) if kept.size else None


def text(names: Sequence[str], views: Sequence[Mapping[str, Any] | None]) -> str:
    """Return the table of views, a line for each run."""
    rows: list[tuple[str, ...]] = [HEAD, UNITS]
    first = (views[0] or {}).get("inference") if views else None
    for name, found in zip(names, views, strict=True):
        cells: tuple[str, ...] = ("-",) * (len(HEAD) - 1)
        if found is not None:
            cells = (
                quantities.in_bytes(found["bytes"]), f"{found['fedlp']:.0f}",
                quantities.digits(found["feddip"]), quantities.digits(found["feddst_down"]),
                quantities.digits(found["feddst_up"]), _share(found["lotteryfl"]),
                _share(found["lg_fedavg"]), *_inference_cells(found["inference"], first),
            )  # fmt: skip
        rows.append((name, *cells))
    lines = quantities.paragraph(
        "as each paper counts (all: the whole run; inference: a sample through the last model; "
        "saved: against the first run; others: a client in a round):")
    right, joined = set(range(1, len(HEAD))), {HEAD.index("up"), HEAD.index("saved")}
    return "\n".join(lines + quantities.columns(rows, right, quantities.WIDTH, joined))


def _share(value: float | None) -> str:
    """Return a share with three decimals, "-" for None."""
    return "-" if value is None else f"{value:.3f}"


def _inference_cells(flops: float | None, first: float | None) -> tuple[str, str]:
    """Return the table's cells on inference: MFLOPs, and the share saved against `first`."""
    if flops is None:
        return "-", "-"
    return quantities.digits(flops / 1e6), quantities.share(1 - flops / first if first else None)


def _keys(run: Run) -> dict[str, Any]:
    keys = run.config.get("algorithm")
    return keys if isinstance(keys, dict) else {}


def _kept(run: Run) -> Reals:
    """Return float64[n]: the share of the model in each message that was not empty."""
    kept: Reals = run.clients["kept"]
    return kept[kept > 0]


def _moves(keys: Mapping[str, Any], rounds: int) -> Bools:
    """Return bool[R]: the rounds at whose end a method may change its mask."""
    number = np.arange(rounds)
    moved = np.zeros(rounds, bool)
    if keys.get("name") in ("feddst", "prunefl", "feddip"):
        moved = number % keys["every"] == 0
        if keys["name"] != "feddip":
            moved[0] = False
    return moved


def _after(moved: Bools) -> Bools:
    """Return bool[R]: the rounds that follow the rounds of `moved`."""
    return np.concatenate(([False], moved[:-1]))


def _by_layer(
    arrays: Mapping[str, AnyArray], names: Sequence[str]
) -> tuple[Integers, Integers]:
    """Return (coordinates, learned coordinates), int64[L] each.

    Arrays come in the order of the layers. A layer begins with the array that bears its name;
    arrays that belong to the layer, such as normalisation, follow.
    """
    sizes, learned, layer = *np.zeros((2, len(names)), np.int64), 0
    for name, array in arrays.items():
        owner = name.rpartition(".")[0]
        while layer + 1 < len(names) and owner in names[layer + 1 :]:
            layer += 1
        sizes[layer] += array.size
        learned[layer] += array.size * (not name.endswith(STATISTICS))
    return sizes, learned
