"""Predict whole rounds on thousands of ranks from measurements on one rank.

OneRank holds the measurements on one rank of this machine: the seconds of training for one unit of
predicted work, and those of a round's other phases. For more ranks, clients are placed as in a run,
so the slowest rank determines the time of training. Sums and the rows of clients are sent over a
modelled network (replay.py). Evaluation is divided among the ranks; every rank does the server's
step and the placement; rank 0 records. Strong scaling keeps the cohort constant, weak scaling the
clients of each rank.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np

from fedmpi.arrays import Bools, Integers, Reals
from fedmpi.bench.measure import Bar, Found
from fedmpi.bench.processes import Launch, Word
from fedmpi.bench.replay import ModelledNetwork, Round, dense, gather, replay
from fedmpi.comm.base import Serial
from fedmpi.experiment import resolve
from fedmpi.experiment.assemble import assemble
from fedmpi.rng import rng_for
from fedmpi.round.assignment import assign, at_home
from fedmpi.round.columns import CLIENT
from fedmpi.round.fixed import Experiment

SETTING = """
[run]
rounds = {rounds}
eval_every = 1
checkpoint_every = 1000000
[data]
name = "patterns"
images = {images}
side = 32
partition = "dirichlet"
alpha = 0.5
[clients]
number = {clients}
per_round = {per_round}
local_epochs = 1
batch_size = 32
[model]
name = "{model}"
[optimizer]
lr = 0.01
[algorithm]
name = "{method}"
[collective]
algorithm = "{sums}"
overlap = "off"
"""
STRONG = 4096  # clients of a round, on any number of ranks
WEAK = 4  # clients of each rank
BOUND = 1.25  # on predicted over taken time, or its inverse


@dataclass(frozen=True)
class Case:
    """The experiment to measure; in each round `per_round` of the clients take part."""

    model: str = "vgg11"
    clients: int = 16
    images: int = 400
    rounds: int = 4
    per_round: int = 16
    method: str = "fedavg"
    sums: str = "auto"

    @property
    def text(self) -> str:
        """The configuration."""
        return SETTING.format(**vars(self))


QUICK = Case("mlp", 8, 400, 4, 8)


@dataclass(frozen=True, eq=False)
class OneRank:
    """The times that one rank of this machine takes for a round.

    Attributes
    ----------
    work : float64[K]
        Predicted work of the measured clients, in samples.
    pace : float
        Seconds of training for one sample.
    weights : float
        Bytes of the model's weights.
    step, evaluate, record : float
        Seconds of these phases. Recording a client's row takes microseconds, so `record` is the
        same for every cohort.
    start : float
        Seconds from the command to the first round.
    """

    work: Reals
    weights: float
    pace: float
    step: float
    evaluate: float
    record: float
    start: float


def measure(launch: Launch, case: Case) -> tuple[OneRank, dict[int, float]]:
    """Run a Case on one rank; return (OneRank, {ranks: seconds of its median round}).

    The second also holds the same run on each number of ranks up to the number of cores, for
    `checked`.
    """
    experiment = assembled(case)
    with TemporaryDirectory(prefix="fedmpi-bench-") as folder:
        config = Path(folder, "whole.toml")
        config.write_text(case.text)
        words: list[Word] = ["bench", "run", config]
        ranks = launch.cores if launch.can(launch.cores) else 1
        if ranks > 1:  # all in one job, which starts once
            words += ["--on", ",".join(map(str, range(1, ranks + 1)))]
        found = launch.fedmpi(words, ranks)
    alone, *others = found.get("runs", [found])
    work = experiment.work(np.arange(case.clients))
    start = alone["first_round_at"] - found["launched_at"] - alone["seconds"][0]
    measured = one_rank(alone, work, case.per_round, 4.0 * experiment.layout.size, start)
    return measured, {run["ranks"]: middle(run["seconds"]) for run in (alone, *others)}


def assembled(case: Case) -> Experiment:
    """Return the Experiment of a Case."""
    return assemble(resolve.resolve(case.text, "bench scale"), Serial(), None)


def one_rank(
    run: Found, work: Reals, per_round: int, weights: float = 0.0, start: float = 0.0
) -> OneRank:
    """Return the OneRank of a `run` that live.py measured on one rank.

    `work`, `weights` and `start` are as in OneRank, `per_round` is the size of the cohort.
    """
    return OneRank(
        work=work,
        weights=weights,
        pace=middle(run["train"]) / (work.mean() * per_round),
        start=start,
        **{name: run["phases"][name] for name in ("step", "evaluate", "record")},
    )


def middle(seconds: Sequence[float]) -> float:
    """Return the median without the first round, which loads kernels."""
    return float(np.median(seconds[1:]))


def predicted(
    measured: OneRank, work: Reals, ranks: int, network: ModelledNetwork | None = None,
    sums: float = 0.0, memory: float = 0.0, *, remember: bool | Bools = True, waiting: float = 1.0,
) -> dict[str, float]:
    """Return the seconds of each part of a round, and "total", by name.

    Parameters
    ----------
    measured : OneRank
    work : float64[n]
        Predicted work of the round's clients.
    ranks : int
    network : ModelledNetwork, optional
        The network between the ranks; without it, messages cost nothing.
    sums : float
        Seconds of the sums over the ranks.
    memory : float
        Bytes that a client remembers, on the rank of its last round, which is drawn at random.
    remember : bool or bool[n]
        Whether clients have taken part before, and so have a memory.
    waiting : float
        Ranks per core, at least 1: a rank computes for 1 / `waiting` of the time.
    """
    homes = rng_for(1, "scale homes", ranks).integers(ranks, size=len(work))
    homes = np.where(remember, homes, -1)
    began = process_time()
    placed = assign(work, np.ones(ranks))
    placed = at_home(placed, work, homes) if memory else placed
    placing = process_time() - began
    moving = rows = 0.0
    if network is not None and ranks > 1:
        each: Reals = np.bincount(placed, minlength=ranks) * np.float64(CLIENT.itemsize)
        small = dense(ranks, 24.0), dense(ranks, 24.0)  # the stop signals, and the phases
        rows = _seconds(chain(gather(each), *small), ranks, network)
        moving = _seconds(moves(homes, placed, memory), ranks, network) if memory else 0.0
    parts = {
        "place": waiting * placing,
        "move": moving,
        "train": float(np.bincount(placed, work, ranks).max()) * measured.pace * waiting,
        "reduce": sums,
        "rows": rows,
        "step": waiting * measured.step,
        "evaluate": waiting * measured.evaluate / ranks,
        "record": waiting * measured.record,
    }
    return parts | {"total": sum(parts.values())}


def moves(homes: Integers, placed: Integers, memory: float) -> Iterator[Round]:
    """Yield the rounds in which clients' memories of `memory` bytes move to their new ranks.

    homes, placed : int64[n], the old rank (-1: none) and the new rank of each client. Each rank
    sends one memory at a time.
    """
    away = np.flatnonzero((homes != placed) & (homes >= 0))
    away = away[np.argsort(homes[away], kind="stable")]
    first = np.searchsorted(homes[away], homes[away])  # the first memory that leaves the same rank
    turn = np.arange(len(away)) - first
    for now in range(turn.max(initial=-1) + 1):
        here = away[turn == now]
        yield Round(homes[here], placed[here], np.full(len(here), float(memory)))


def starting(measured: OneRank, ranks: int, network: ModelledNetwork) -> float:
    """Return the seconds from the command to the first round, with the broadcast of weights."""
    sent = dense(ranks, measured.weights)  # scatter and gather send as many bytes as a broadcast
    return measured.start + _seconds(sent, ranks, network)


def _seconds(rounds: Iterable[Round], ranks: int, network: ModelledNetwork) -> float:
    """Return the time at which the last rank is done with the rounds."""
    return float(replay(rounds, ranks, network).max())


def scaling(
    measured: OneRank, sums: Iterable[Found], networks: Mapping[str, ModelledNetwork]
) -> list[Found]:
    """Return rows for JSON: the parts of a round, its total, and the efficiency over one rank.

    "start" is not part of the total. `sums` are rows of scale.of_method: the seconds of a round's
    sums by method, network and number of ranks.
    """
    rows: list[Found] = []
    for one in sums:
        count, network = one["ranks"], networks[one["network"]]
        for kind, clients in (("strong", STRONG), ("weak", WEAK * count)):
            work = drawn(measured.work, clients)
            same = work if kind == "strong" else np.full(WEAK, work.mean())
            alone = predicted(measured, same, 1)
            here = predicted(measured, work, count, network, one["seconds"], one["memory"])
            ideal = alone["total"] / (count if kind == "strong" else 1)
            names = {key: one[key] for key in ("network", "method")}
            rows.append({
                "scaling": kind, **names, "ranks": count, "clients": clients, **here,
                "efficiency": ideal / here["total"], "start": starting(measured, count, network),
            })  # fmt: skip
    return rows


def drawn(work: Reals, clients: int) -> Reals:
    """Return float64[clients]: the work of clients drawn at random from `work`."""
    return work[rng_for(1, "scale work").integers(len(work), size=clients)]


def checked(measured: OneRank, taken: Mapping[int, float]) -> list[Bar]:
    """Return a Bar for each number of real ranks: predicted over taken seconds of a round."""
    bars = []
    for ranks, seconds in taken.items():
        bars.append(bar(predicted(measured, measured.work, ranks)["total"] / seconds, ranks))
    return bars


def bar(ratio: float | None, ranks: int, where: str = "", note: str = "") -> Bar:
    """Return the Bar of the `ratio` of predicted to taken seconds; None was not measured."""
    off = None if ratio is None else max(ratio, 1 / ratio)
    name = f"whole round predicted against real, {ranks} ranks{where}"
    return Bar(name, off, BOUND, at_least=False, note=note)
