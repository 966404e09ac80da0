"""The layout of a result file as one table, from which writer, reader and SCHEMA.md follow."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

VERSION = "1.6"  # the first number changes if an old reader would misread the file

PHASES = ("move", "train", "reduce", "step", "evaluate", "record", "wait")
RUN_STATUS = ("running", "stopped", "finished", "failed")
CLIENT_STATUS = ("completed", "late", "dropped", "rejected", "unavailable")  # stored as index

COLLECTIVES = (  # stored as index; "node": shared memory only; names after it: between nodes
    "none", "node", "shared", "allgatherv", "halving", "split", "dsar", "dense",
)

# Columns added in a later version; files of earlier versions do not have them.
SINCE = {"rounds/flops_inference": "1.1"} | dict.fromkeys(
    ("rounds/joules", "rounds/co2_g", "clients/joules"), "1.2"
) | dict.fromkeys(("rounds/own_mean_accuracy", "rounds/epsilon"), "1.3") | {
    "rounds/memory_peak": "1.5", "phases/move": "1.6"
}

MEASURED = {"wall_time", "collective_regret"}  # from clocks and time models, so maybe negative

TEXT = "utf-8"  # dtype of a column of text: UTF-8 of fixed length, padded with zeros


@dataclass(frozen=True)
class Column:
    """One dataset, or a root attribute if `path` has no slash."""

    path: str
    dtype: str | None  # a numpy dtype or "utf-8"; None for any
    shape: str  # [R] rounds, [K] rows of clients, [L] layers, [N] all clients; "" for one value
    unit: str  # "1" for a pure number, "" for text
    meaning: str

    @property
    def group(self) -> str:
        """The part of the path before the slash: "rounds", "clients", ..."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The part of the path after the slash: "test_accuracy", ..."""
        return self.path.rpartition("/")[2]


def _columns(group: str, shape: str, text: str) -> tuple[Column, ...]:
    """Return the Columns in lines of "name, dtype, unit, meaning" (meanings may have commas)."""
    lines = [line.split(",", 3) for line in text.strip().splitlines()]
    return tuple(
        Column(f"{group}/{name.strip()}", dtype.strip(), shape, unit.strip(), meaning.strip())
        for name, dtype, unit, meaning in lines
    )


ROOT = (
    Column("fedmpi_schema", TEXT, "", "", "version of this table; a new first number is not read"),
    Column("software_version", TEXT, "", "", "version of fedmpi of the (last) start"),
    Column("status", TEXT, "", "", "one of " + ", ".join(RUN_STATUS)),
    Column("rounds", "<i8", "", "1", "number of whole rounds, R"),
    Column("ranks", "<i8", "", "1", "number of MPI ranks of the (last) start"),
    Column("created", TEXT, "", "", "when the run began, ISO 8601 in UTC"),
    Column("updated", TEXT, "", "", "when the file was last written, ISO 8601 in UTC"),
)

ROUNDS = _columns("rounds", "[R]", f"""
    round,             <i8, 1,    number of the round, from 0
    virtual_time,      <f8, s,    simulated time at the end of the round, from the cost model alone
    wall_time,         <f8, s,    measured time since the run began, resumes included
    train_loss,        <f8, 1,    mean loss of the clients' local training, by their shares
    test_loss,         <f8, 1,    mean loss on the test data; NaN in rounds without evaluation
    test_accuracy,     <f8, 1,    share of the test data classified correctly; NaN as above
    local_accuracy,    <f8, 1,    mean over clients of their own models' accuracy; NaN as above
    own_mean_accuracy, <f8, 1,    accuracy of the plain mean of own models; NaN if all are global
    clients_selected,  <i8, 1,    clients asked to take part
    clients_completed, <i8, 1,    clients whose report entered the sums
    bytes_down,        <i8, byte, encoded messages from server to clients, all clients
    bytes_up,          <i8, byte, encoded messages from clients to server, all clients
    bytes_up_values,   <i8, byte, the part of bytes_up that is values
    bytes_up_support,  <i8, byte, the part of bytes_up that says which coordinates are sent
    flops,             <i8, 1,    floating-point operations of the clients' training
    flops_inference,   <f8, 1,    floating-point operations of one sample, with pruning and gates
    joules,            <f8, J,    energy of the clients' devices, from the powers in /devices
    co2_g,             <f8, g,    CO2 of this energy, from devices.carbon_g_per_kwh
    epsilon,           <f8, 1,    privacy spent so far; inf: no protection; NaN without noise
    density_up,        <f8, 1,    mean over clients of the share of the coordinates sent
    density_union,     <f8, 1,    share of the coordinates that at least one completed client sent
    model_density,     <f8, 1,    share of the coordinates of the global model that are not pruned
    mpi_bytes,         <i8, byte, bytes that ranks sent each other in messages; none are simulated
    collective,        |u1, 1,    {", ".join(f"{i} {word}" for i, word in enumerate(COLLECTIVES))}
    collective_regret, <f8, s,    modelled time that another algorithm would have saved
    memory_peak,       <f8, byte, most memory that a rank has used since the (last) start
""")

CLIENTS = _columns("clients", "[K]", f"""
    round,           <i4, 1,    round in which the row was written; rows are in order of rounds
    client,          <i4, 1,    number of the client
    rank,            <i4, 1,    MPI rank that simulated it
    samples,         <i8, 1,    training samples of the client
    steps,           <i8, 1,    optimiser steps taken
    virtual_start,   <f8, s,    simulated time when the client began to receive
    virtual_end,     <f8, s,    simulated time when the server had its report
    seconds_down,    <f8, s,    simulated download, latency included
    seconds_compute, <f8, s,    simulated training
    seconds_up,      <f8, s,    simulated upload, latency included
    bytes_down,      <i8, byte, length of the encoded message to the client
    bytes_up,        <i8, byte, length of the encoded message from the client
    flops,           <i8, 1,    floating-point operations of its training
    joules,          <f8, J,    energy of its device in the round
    kept,            <f8, 1,    share of the model's parameters that it sent
    status,          <u1, 1,    {", ".join(f"{i} {word}" for i, word in enumerate(CLIENT_STATUS))}
    train_loss,      <f8, 1,    mean loss of its local training; NaN if it did not train
""")

PHASE_COLUMNS = _columns("phases", "[R, ranks]", """
    move,     <f8, s, measured time in moving clients' memories between ranks
    train,    <f8, s, measured time in the clients' training
    reduce,   <f8, s, measured time in the sums over ranks
    step,     <f8, s, measured time in the server step
    evaluate, <f8, s, measured time in evaluation
    record,   <f8, s, measured time in writing this file and checkpoints
    wait,     <f8, s, measured time waiting for other ranks
""")

LAYERS = _columns("layers", "[R, L]", """
    kept,       <f8, 1,    mean over clients of the share of the layer's coordinates sent
    bytes_down, <i8, byte, values of the layer in bytes_down
    bytes_up,   <i8, byte, values of the layer in bytes_up
""")

EVENTS = _columns("events", "[E]", """
    time,  utf-8, ,  when, ISO 8601 in UTC
    round, <i8,   1, number of rounds in the file at that moment
    kind,  utf-8, ,  "resume", "stopped", "requeue", "config", "rejected", "failed" or "warning"
    text,  utf-8, ,  what happened
""")


def metric_column(name: str) -> Column:
    """Return the Column of a metric that a configuration names, with one value a round."""
    text = f"{name.replace('_', ' ')} on the test data; NaN in rounds without evaluation"
    return Column(f"metrics/{name}", "<f8", "[R]", "1", text)


FIXED = (
    Column("config/toml", TEXT, "", "", "the configuration, byte for byte as given"),
    Column("config/resolved", TEXT, "", "", "JSON of every value used, defaults included"),
    Column("layers/names", TEXT, "[L]", "", "names of the layers"),
    Column("partition/counts", "<i4", "[N, classes]", "1", "samples by client and class; one "
           "column, of all classes together, where clients draw their samples on demand"),
)

APPENDED = ROUNDS + CLIENTS + PHASE_COLUMNS + LAYERS  # the columns that every round extends
EVENT_LENGTHS = {"time": 32, "kind": 16, "text": 480}  # bytes; longer texts end in "…"

DEVICES = {  # (unit, meaning) of the columns of /devices
    "tier": ("", "name of the kind of device"),
    "gflop_s": ("Gflop/s", "speed of the device"),
    "up_mbit_s": ("Mbit/s", "speed from client to server"),
    "down_mbit_s": ("Mbit/s", "speed from server to client"),
    "latency_s": ("s", "time before the first byte of a message"),
    "availability": ("1", "probability that the client can be selected in a round"),
    "dropout": ("1", "probability that a selected client is lost during the round"),
    "memory_mb": ("MB", "memory that a plan may need on the device; inf: no limit"),
    "power_w": ("W", "power of the device while it computes"),
    "idle_w": ("W", "power of the device while it receives or sends"),
    "joule_per_mb": ("J/MB", "energy of receiving or sending"),
    "shift_s": ("s", "seconds added to virtual time to find the client's time in its trace"),
    "trace": ("1", "number, from 0, of the recorded device that the client's presence follows"),
}

COLUMNS = ROOT + FIXED + APPENDED + EVENTS


def known(columns: Iterable[Column], version: str) -> tuple[Column, ...]:
    """Return the subset of `columns` that a file of schema `version` has."""
    number = _minor(version)
    return tuple(c for c in columns if _minor(SINCE.get(c.path, "1.0")) <= number)


def _minor(version: str) -> int:
    """Return the second number of a version, or 0 if it has none."""
    text = version.partition(".")[2]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def is_newer(version: str) -> bool:
    """Return whether `version`, two numbers with a point between them, comes after VERSION."""
    found = re.fullmatch(r"(\d{1,5})\.(\d{1,5})", version, re.ASCII)
    if found is None:
        return False
    return (int(found[1]), int(found[2])) > tuple(map(int, VERSION.split(".")))


def limits(column: Column) -> tuple[float, float]:
    """Return (least, most), the limits of the values in a column of rounds or clients.

    NaN counts as no value. Losses and epsilon have no limits.
    """
    name = column.name
    if name.endswith("_loss") or name == "epsilon":
        return -np.inf, np.inf
    if column.group not in ("rounds", "clients") or name in MEASURED:
        return -1e30, 1e30
    part = name == "kept" or "accuracy" in name or "density" in name
    return (0, 1 + 1e-9) if part else (0, 1e30)


def numeric(column: Column) -> np.dtype[Any]:
    """Return the numpy dtype of a column that is not text."""
    return np.dtype(column.dtype)


HEAD = f"""# Result files of fedmpi, schema {VERSION}

Printed from `fedmpi/record/schema.py`. Each run has one HDF5 file. It is written under the name
`FILE.part` and then renamed, so `FILE` can be read at any moment: while the run writes, and after
the run was killed. Numbers are little-endian. Text is UTF-8 of fixed length, padded with zeros. The
file has no links to other files, and no dataset has two names. Every dataset has a checksum: HDF5
keeps small datasets with its metadata, which have their own checksums, and the other datasets have
Fletcher-32. Datasets that grow or are larger than 32 KiB are compressed with gzip, except the
weights. A single text that is larger than 32 KiB is an array with one element.

Every dataset below has the attributes `unit` and `meaning`, which other programs find under the
names `units` and `long_name`. The axis of `/rounds` has the dimension scale `/rounds/round`, and
the axes of `/phases` and `/layers` have labels. A new column raises the second number of the
version. A change that an old reader would misread raises the first. `fedmpi upgrade` updates old
files.

Shapes: R rounds, K rows of clients, N clients in all, L layers, E events.
"""

TAIL = """## Open groups

| path | what |
| --- | --- |
| `/provenance/...` | what the run ran on: texts, numbers, lists, and groups of these; \
`engine` has the engine, its device, chunk, slots, precision, and the versions of CUDA and cuDNN; \
`schedule` is there where a schedule over the rounds has changed, with each earlier `run.rounds` |
| `/devices/<column>` [N] | numbers or texts, one for each client, from the device profile; \
`availability` and `dropout` if any client can be away or be lost, `memory_mb`, `power_w`, \
`idle_w` and `joule_per_mb` where given, `shift_s` and `trace` if there is a trace |
| `/metrics/<metric>` [R] | what `model.metrics` names, `<f8`, NaN in rounds without evaluation; \
a column of the rounds to readers; no group if it names none |
| `/model/<parameter>` | the global weights at the end, in the order of the model; absent before |
| `/model`, attribute `sha256` | digest of these, defined in `fedmpi/record/digest.py` |

## Clients that do not complete

A late client has received its message and trained, so its `bytes_down`, `steps` and `flops` are
complete. Its seconds end at the deadline, and `bytes_up` are the bytes that had arrived by then. An
unavailable client left, as its trace says, before its report had arrived. Its row is like that of a
late client, and its seconds end when it left. A dropped client has received its message; its row
holds nothing else. `bytes_up` of a round counts what late and unavailable clients sent;
`bytes_up_values`, `bytes_up_support`, `density_up` and `/layers` do not, because none of their
messages is complete. A round in which no client could be selected has no rows in `/clients`.

With `schedule.mode = "async"` the rows of a round are the clients that report in it. They began at
their `virtual_start`, in this round or an earlier round. A late client was stopped as too stale,
and a dropped client was lost; their rows hold what they received, and how long that took. If the
size of a message is known only after training, `seconds_up` is the time of the expected size, and
`bytes_up` the size that was sent.

With `run.record_clients = "sample"` a round has rows of 1,000 clients, drawn at random; with
`"none"` it has no rows. The columns of `/rounds` and `/layers` always cover all clients.
"""

TITLES = (
    ("Root attributes", ROOT),
    ("Written once", FIXED),
    ("One value a round", ROUNDS),
    ("One value for each client of a round", CLIENTS),
    ("One value for each rank of a round", PHASE_COLUMNS),
    ("One value for each layer of a round", LAYERS),
    ("Events", EVENTS),
)


def manual() -> str:
    """Return the text of SCHEMA.md."""
    parts = [HEAD]
    for title, columns in TITLES:
        lines = [f"## {title}", "", "| path | dtype | shape | unit | meaning |", "|" + " --- |" * 5]
        for c in columns:
            path = f"/{c.path}" if c.group else c.path
            # numpy's name for a byte contains a bar, which would end the cell.
            dtype = (c.dtype or "").replace("|", r"\|")
            lines.append(f"| `{path}` | {dtype} | {c.shape} | {c.unit} | {c.meaning} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join([*parts, TAIL])
