"""Whole runs of sparse methods: the reduction phase under MPI's dense Allreduce and under auto.

Each run is `fedmpi run` under mpiexec in separate processes; the two algorithms take turns. A
round takes as long as its slowest rank. The first two rounds create windows and load kernels, so
they do not count. Sums do not begin before a rank's last client (overlap = "off"), so ranks wait
for the reduction alone.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fedmpi.arrays import Reals
from fedmpi.bench.measure import Bar, Found, Say, Spread, judged, plain, ratios
from fedmpi.bench.processes import Launch, Word
from fedmpi.record import reader

SETTING = """
[run]
seed = 1
rounds = {rounds}
eval_every = 1000000
checkpoint_every = 1000000
[data]
name = "patterns"
images = 64
side = 32
[clients]
number = {clients}
local_steps = 1
batch_size = 4
[model]
name = "{model}"
[optimizer]
lr = 0.001
[collective]
algorithm = "{algorithm}"
overlap = "off"
[algorithm]
{method}
"""
METHODS = {  # the [algorithm] section, and how many times shorter auto must be
    "topk 1 %": ('name = "topk"\nshare = 0.01', 5.0),
    "FedSkel r = 0.1": ('name = "fedskel"\nratio = 0.1\nupdates_per_set = 1000', 2.5),
    "static masks 0.9": ('name = "static-mask"\nmask = "random"\nsparsity = 0.9', 2.5),
    "FedAvg": ('name = "fedavg"', 1 / 1.05),
}
ALGORITHMS = "dense", "auto"
CLIENTS = 4  # for each rank
FIRST = 2  # rounds that do not count


@dataclass(frozen=True)
class Size:
    """The extent of a measurement."""

    model: str = "vgg11"
    rounds: int = 12
    passes: int = 3
    methods: tuple[str, ...] = tuple(METHODS)


QUICK = Size(model="mlp", rounds=4, passes=1, methods=("topk 1 %", "FedAvg"))


@dataclass(frozen=True)
class Row:
    """One method: milliseconds of the reduction in the median round, and their ratio.

    `low` and `high` are the smallest and the largest ratio of two consecutive runs.
    """

    method: str
    ranks: int
    dense: float
    auto: float
    ratio: float
    low: float
    high: float
    union: float  # share of the coordinates that any client sent, in the median round


def run(launch: Launch, ranks: int, size: Size, say: Say = lambda text: None) -> Found:
    """Measure the methods on some ranks; return {"rows": [Row], "bars": [Bar]} as JSON values.

    `launch` is a Launch, `size` a Size; `say` is called with a few words on what is being measured.
    """
    rows = []
    with TemporaryDirectory(prefix="fedmpi-bench-") as folder:
        for method in size.methods:
            say(f"reduction of {method}, {size.passes} times {' and '.join(ALGORITHMS)}")
            rows.append(_row(launch, Path(folder), ranks, size, method))
    bars = judged(_bars(rows), size == QUICK)
    return dict(plain({"rows": [asdict(row) for row in rows], "bars": bars}))


def _row(launch: Launch, folder: Path, ranks: int, size: Size, method: str) -> Row:
    """Run one method under both algorithms in turn and return its Row."""
    found: dict[str, list[Reals]] = {algorithm: [] for algorithm in ALGORITHMS}
    unions: list[float] = []
    for turn in range(size.passes):
        for algorithm in ALGORITHMS[:: 1 if turn % 2 == 0 else -1]:
            text = SETTING.format(
                rounds=size.rounds, clients=CLIENTS * ranks, model=size.model,
                algorithm=algorithm, method=METHODS[method][0],
            )
            seconds, union = _reductions(launch, folder, ranks, text)
            found[algorithm].append(seconds)
            unions.append(union)
    dense, auto = (1e3 * float(np.median(np.concatenate(found[name]))) for name in ALGORITHMS)
    pairs = Spread.of(ratios(*([float(np.median(s)) for s in found[name]] for name in ALGORITHMS)))
    union = float(np.median(unions))
    return Row(method, ranks, dense, auto, dense / auto, pairs.low, pairs.high, union)


def _reductions(launch: Launch, folder: Path, ranks: int, text: str) -> tuple[Reals, float]:
    """Run once; return the seconds of reduction float64[rounds], and the median union."""
    config, out = folder / "run.toml", folder / "run.h5"
    config.write_text(text)
    words: list[Word] = ["run", config, "-o", out, "--overwrite", "--quiet"]
    launch.finish([*launch.command, *words], ranks)
    with reader.open(out) as done:
        seconds = np.asarray(done.phases.reduce[FIRST:]).max(axis=1)
        return seconds, float(np.median(done.rounds.density_union[FIRST:]))


def _bars(rows: list[Row]) -> list[Bar]:
    return [
        Bar(f"reduction of {row.method}: dense over auto", row.ratio, METHODS[row.method][1])
        for row in rows
    ]
