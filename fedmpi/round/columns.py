"""The columns and rows that one round adds to the result file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray, Integers, Reals
from fedmpi.errors import FedmpiError, listed
from fedmpi.layout import Layout, Support
from fedmpi.learn.evaluate import Score
from fedmpi.learn.partitions.label_mix import LabelMix
from fedmpi.record.schema import CLIENTS
from fedmpi.rng import rng_for
from fedmpi.round.cohort import Cohort
from fedmpi.round.messages import PartSize
from fedmpi.round.status import COMPLETED, DROPPED, LATE, REJECTED, SILENCED, UNAVAILABLE
from fedmpi.round.visit import Visit
from fedmpi.world.cells import share_uplinks
from fedmpi.world.clock import Spans, spans
from fedmpi.world.conditions import Conditions
from fedmpi.world.devices import Devices
from fedmpi.world.energy import joules

CLIENT = np.dtype([(column.name, column.dtype) for column in CLIENTS])
"""One row of /clients, as ranks exchange it."""
SAMPLE = 1000  # client rows kept of a round with run.record_clients = "sample"


@dataclass(eq=False)
class RoundRecord:
    """The data that one round adds to the result file.

    `columns` holds the columns of /rounds, `clients` the rows CLIENT[n] in order of client,
    `layers` arrays [L] by name, `metrics` numbers by name, `phases` float64[phases, ranks], which
    is empty until measured, and `rejected` a list of (client, reason).
    """

    columns: dict[str, Any]
    clients: AnyArray
    layers: dict[str, AnyArray]
    metrics: dict[str, float]
    phases: Reals = field(default_factory=lambda: np.zeros((0, 0)))
    rejected: Sequence[tuple[int, str]] = ()


class Sent:
    """Coordinates and bytes sent in a round, by layer; integers, summed over ranks."""

    def __init__(self, layout: Layout) -> None:
        self._layout, self._layers, self._size = layout, len(layout.layers), layout.size
        self.table: Integers = np.zeros(3 * self._layers + 2, np.int64)

    def add(
        self, down: Sequence[PartSize], up: Sequence[PartSize], sent: Support | None = None
    ) -> None:
        """Count the parts that one client received and sent, by their sizes.

        `sent` is the Support of everything that it sent. If it sent nothing, `sent` is None and
        `up` is empty.
        """
        layers = self._layers
        if sent is not None:
            self.table[:layers] += sent.layer_counts
        for number, parts in enumerate((down, up), 1):
            for part in parts:
                self.table[number * layers : (number + 1) * layers] += part.layers
        for part in up:
            self.table[-2] += part.bytes.values
            self.table[-1] += part.bytes.support

    def layers(self, clients: int) -> dict[str, AnyArray]:
        """Return the columns of /layers, arrays [L], given how many clients could have sent."""
        kept, down, up = self.table[:-2].reshape(3, self._layers)
        held = np.maximum(clients * np.diff(self._layout.starts("layer")), 1)
        return {"kept": kept / held, "bytes_down": down, "bytes_up": up}

    def density_up(self, clients: int) -> float:
        """Return the fraction of the coordinates sent, as the mean over `clients` clients."""
        return float(self.table[: self._layers].sum() / max(clients * self._size, 1))


def client_row(done: Visit, samples: int, flops: float) -> AnyArray:
    """Return the CLIENT row of a Visit; round, rank and times are filled in later.

    `samples` is the client's number of samples; `flops` is 0 if it was not trained.
    """
    report, row = done.report, np.zeros((), CLIENT)
    row["client"], row["samples"], row["flops"] = done.job.client, samples, flops
    row["bytes_down"] = sum(part.bytes.total for part in done.down)
    row["bytes_up"] = sum(part.bytes.total for part in done.up)
    row["status"] = REJECTED if done.reason else COMPLETED
    row["train_loss"] = np.nan
    if report is not None and done.support is not None:
        row["steps"], row["train_loss"] = report.steps, report.loss
        row["kept"] = done.support.size / max(done.support.layout.size, 1)
    return row


def lost_row(client: int, samples: int, down: Sequence[PartSize], status: int) -> AnyArray:
    """Return the CLIENT row of a client that received parts of sizes `down` and sent nothing."""
    row = np.zeros((), CLIENT)
    row["client"], row["samples"], row["status"] = client, samples, status
    row["bytes_down"] = sum(part.bytes.total for part in down)
    row["train_loss"] = np.nan
    return row


def cut_off(row: AnyArray, conditions: Conditions) -> bool:
    """Return whether a client's report comes late; if so, correct its CLIENT row in place.

    The row keeps what a late client received and computed. Of the bytes that it sent, only those
    transferred before its cut-off remain.
    """
    devices, client = conditions.devices, row["client"]
    span, schedule = _spans(row, devices), conditions.for_each(client)
    late = schedule.late(span)
    if not late:
        return False
    row["bytes_up"] = schedule.through(span, devices, client, row["bytes_up"])
    row["status"] = UNAVAILABLE if conditions.away(client, late) else LATE
    row["kept"] = 0
    return True


def fill_times(clients: AnyArray, conditions: Conditions) -> float:
    """Write the virtual times and joules of all clients of a round, in place.

    Returns the round's end. The end of a late or lost client is when its transfers stopped.
    """
    devices, start = conditions.devices, conditions.start
    late, dropped = np.isin(clients["status"], SILENCED), clients["status"] == DROPPED
    schedule = conditions.for_each(clients["client"])
    span = schedule.cut_off(_spans(clients, devices), late, dropped)
    span = share_uplinks(span, devices, clients["client"], clients["bytes_up"])
    end = conditions.schedule.end(start, span, late | dropped)
    moved = clients["bytes_down"] + clients["bytes_up"]
    clients["joules"] = joules(devices, clients["client"], span, moved)
    clients["virtual_start"], clients["virtual_end"] = start, np.minimum(start + span.total, end)
    clients["seconds_down"], clients["seconds_up"] = span.down, span.up
    clients["seconds_compute"] = span.compute
    return end


def _spans(rows: AnyArray, devices: Devices) -> Spans:
    """Return the Spans of CLIENT rows, computed from their bytes and FLOPs."""
    columns = ("client", "bytes_down", "bytes_up", "flops")
    return spans(devices, *(rows[name] for name in columns))


def could_send(clients: AnyArray) -> int:
    """Return how many of a round's clients, CLIENT[n], could have sent a whole message."""
    return int((~np.isin(clients["status"], (*SILENCED, DROPPED))).sum())


def reported(clients: AnyArray) -> AnyArray:
    """Return the rows of a round's clients, CLIENT[n], as the server knows them.

    The report of a client that was cut off never came, so its loss is unknown.
    """
    silenced = np.isin(clients["status"], SILENCED)
    if not silenced.any():
        return clients
    rows = clients.copy()
    rows["train_loss"][silenced] = np.nan
    return rows


def round_columns(
    round: int,
    clients: AnyArray,
    cohort: Cohort,
    sent: Sent,
    score: Score | None,
    mix: LabelMix,
) -> dict[str, Any]:
    """Return the columns of /rounds that follow from the rows of its clients and its Score.

    The rows are in order of client, as `cohort` is, so floating-point sums over them do not
    depend on the ranks that simulated the clients.
    """
    done = clients["status"] == COMPLETED
    trained = done & (clients["steps"] > 0)  # a client that only measured has no loss
    shares, losses = cohort.shares[trained], clients["train_loss"][trained]
    return {
        "round": round,
        "train_loss": float((shares * losses).sum() / shares.sum()) if trained.any() else np.nan,
        "test_loss": score.loss if score else np.nan,
        "test_accuracy": score.accuracy if score else np.nan,
        "local_accuracy": score.local_accuracy(mix) if score else np.nan,
        "own_mean_accuracy": score.own.of_mean if score and score.own else np.nan,
        "clients_selected": len(clients),
        "clients_completed": int(done.sum()),
        "bytes_down": int(clients["bytes_down"].sum()),
        "bytes_up": int(clients["bytes_up"].sum()),
        "bytes_up_values": int(sent.table[-2]),
        "bytes_up_support": int(sent.table[-1]),
        "flops": int(clients["flops"].sum()),
        "joules": float(clients["joules"].sum()),
        "density_up": sent.density_up(could_send(clients)),
    }


def rows_to_store(clients: AnyArray, which: str, seed: int, round: int) -> AnyArray:
    """Return the rows of a round's `clients`, CLIENT[n], that the result file stores, in order.

    `which` is run.record_clients. Each round draws a new sample, the same on every rank.
    """
    if which == "none":
        return clients[:0]
    if which == "all" or len(clients) <= SAMPLE:
        return clients
    rng = rng_for(seed, "recorded", round)
    return clients[np.sort(rng.choice(len(clients), SAMPLE, replace=False, shuffle=False))]


def by_client(rows: AnyArray) -> AnyArray:
    """Return structured rows in order of client; sorting whole rows takes ten times as long."""
    return rows[np.argsort(rows["client"], kind="stable")]


def of_cohort(rows: AnyArray, cohort: Integers) -> AnyArray:
    """Return the rows of all ranks in order of client.

    Raises FedmpiError if they are not the rows of `cohort` int64[n], the clients that this rank
    selected: then another rank has selected others, or has shared them out in another way.
    """
    rows, expected = by_client(rows), np.sort(cohort)
    if not np.array_equal(rows["client"], expected):
        trained, selected = (listed(found.tolist(), 5) for found in (rows["client"], expected))
        raise FedmpiError(
            f"the ranks do not agree on the clients of a round: they trained {trained}, and a rank "
            f"selected {selected}; a rule of selection, or load of a method, may draw only from "
            "rng_for, and must give the same on every rank"
        )
    return rows
