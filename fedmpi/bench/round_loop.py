"""Clients per second of fedmpi, its bare training loop, and other programs on the same clients.

LeNet-5, Fashion-MNIST, 100 clients, 20 a round, one epoch, batch 32, SGD with lr 0.05. Arms are
separate processes that take turns; a round lasts from the end of the round before to its own end.
The first round is start-up and the last round evaluates, so neither counts.

The result is a dict for JSON:
    setting     the TOML that all arms follow, and the data they train on
    machine     processor, instructions, cores, load at the beginning and at the end
    arms        for each: name, ranks, clients_per_second and seconds (of a round) as
                {median, low, high, quartiles, count}, startup (seconds to the end of the first
                round), accuracy, note; fedmpi's own also engine, phases, weights_sha256
    overhead    over_bare: {median, ...} of (round / bare training - 1), paired by round
    startup     seconds to the end of the first training step, {median, ...}
    memory      bytes of rank 0: over rounds, and by size of the cohort; None if left out
    bars        name, value, kind, bound, met, note
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import numpy as np

from fedmpi.bench import environment, given, resident_memory
from fedmpi.bench.measure import Bar, Found, Say, Spread, judged, plain, ratios
from fedmpi.bench.others import Peer
from fedmpi.bench.processes import Launch, Word
from fedmpi.errors import FedmpiError
from fedmpi.experiment import resolve
from fedmpi.experiment.resolve import Resolved

SETTING = """
[run]
name = "bench"
seed = 1
rounds = {rounds}
eval_every = 1000000
checkpoint_every = 1000000
[data]
{data}
partition = "iid"
[clients]
number = {clients}
per_round = {per_round}
batch_size = 32
[model]
name = "lenet5"
[optimizer]
name = "sgd"
lr = 0.05
"""
FASHION, PATTERNS = 'name = "fashion-mnist"', 'name = "patterns"\nimages = {images}'
SKELETON = ("algorithm.name=fedskel", "algorithm.ratio=0.25")
LEFT_OUT = "left out: its turn came after --minutes"
PARITY = 0.04  # allowed difference of accuracy after few rounds: cohorts and orders differ


@dataclass(frozen=True)
class Size:
    """The extent of a measurement: the whole benchmark, or a quick check that it runs."""

    rounds: int = 8
    skeleton_rounds: int = 41  # until most clients have a skeleton
    passes: int = 2
    clients: int = 100
    per_round: int = 20
    images: int = 60_000
    tiny_rounds: int = 200
    cohorts: tuple[int, ...] = (10, 100, 1000)
    starts: int = 3
    ranks: tuple[int, ...] = (1, 2, 4)
    judged: bool = True


QUICK = Size(
    rounds=4, skeleton_rounds=5, passes=1, clients=10, per_round=4, images=600,
    tiny_rounds=12, cohorts=(2, 4), starts=1, judged=False,
)


def size_for(ranks: int, quick: bool = False) -> Size:
    """Return the Size of a measurement on 1, 2 and `ranks` ranks."""
    counts = tuple(sorted({1, min(2, ranks), ranks}))
    return replace(QUICK if quick else Size(), ranks=counts)


@dataclass
class Arm:
    """A program that is measured: the words that start it, and its results so far.

    `counts` are the bounds of the rounds that count, as in a slice; `seconds` are the times of
    these rounds, `bare` those of bare training; `found` is the result of the first pass.
    """

    name: str
    words: list[Word]
    ranks: int = 1
    own: bool = True
    passes: int = 1000
    counts: tuple[int, int | None] = (1, -1)
    note: str = ""
    seconds: list[float] = field(default_factory=list)
    found: Found = field(default_factory=dict)
    bare: list[float] = field(default_factory=list)
    tells_parity: bool = True


def run(
    launch: Launch, root: Path | None, cache: Path | None, size: Size, others: Sequence[Peer] = (),
    say: Say = lambda text: None, minutes: float = inf,
) -> Found:
    """Measure everything and return the dict above.

    Parameters
    ----------
    launch : Launch
    root, cache : Path or None
        Folders of the data sets and of the records of verified files.
    size : Size
    others : list
        The programs to compare with, as from `fedmpi.bench.others`.
    say : callable
        Called with a few words on what is being measured.
    minutes : float
        After this time no measurement begins; an arm that was left out says so.
    """
    described, end = environment.described(launch), monotonic() + 60 * minutes
    with TemporaryDirectory(prefix="fedmpi-bench-") as name:
        folder = Path(name)
        text, data = _setting(folder, size, root, cache)
        arms = _arms(launch, folder, size, others)
        for turn in range(size.passes):
            for arm in arms:
                if monotonic() > end:
                    arm.note = arm.note or ("" if arm.seconds else LEFT_OUT)
                elif turn < arm.passes and not arm.note:
                    say(f"{arm.name} on {arm.ranks}, pass {turn + 1} of {size.passes}")
                    _measure(launch, arm)
        startup, held = Spread.of([]), None
        if monotonic() < end:
            say("start-up and memory")
            startup = _startup(launch, folder, size)
            held = resident_memory.measure(launch, folder, size)
    over_bare = _over_bare(arms)
    described["load_after"] = os.getloadavg()
    return dict(plain({
        "setting": {"toml": text, "data": data, "quick": not size.judged},
        "machine": described,
        "arms": [_row(arm, size) for arm in arms],
        "overhead": {"over_bare": over_bare.plain()},
        "startup": startup.plain(),
        "memory": held,
        "bars": judged(_bars(arms, size, over_bare, startup, held), not size.judged),
    }))  # fmt: skip


def _setting(folder: Path, size: Size, root: Path | None, cache: Path | None) -> tuple[str, str]:
    """Write the experiment and the files for other programs; return its TOML and its data."""
    def resolved(data: str) -> tuple[str, Resolved]:
        text = SETTING.format(
            rounds=size.rounds, clients=size.clients, per_round=size.per_round, data=data
        )
        return text, resolve.resolve(text, "bench round")

    patterns = PATTERNS.format(images=size.images)
    text, experiment = resolved(FASHION if size.judged else patterns)
    try:
        given.write(folder, experiment, root, cache)
        data = "fashion-mnist" if size.judged else "patterns"
    except FedmpiError as error:
        text, experiment = resolved(patterns)
        given.write(folder, experiment, root, cache)
        data = f"patterns of the same shape, not real images: {str(error).splitlines()[0]}"
    (folder / "bench.toml").write_text(text)
    return text, data


def _arms(launch: Launch, folder: Path, size: Size, others: Sequence[Peer]) -> list[Arm]:
    """Return the Arms; an arm that cannot run has a note with the reason."""
    def own(name: str, ranks: int, *overrides: str) -> Arm:
        sets = [f"--set={one}" for one in overrides]
        return Arm(name, ["bench", "run", folder / "bench.toml", *sets], ranks)

    arms = [own("fedmpi", ranks) for ranks in size.ranks]
    arms[0].words.append("--bare")  # on one rank
    most = size.ranks[-1]
    arms += [own("fedmpi, torch engine", ranks, "run.engine=torch") for ranks in sorted({1, most})]
    rounds = f"run.rounds={size.skeleton_rounds}"
    skeleton = own("fedmpi, FedSkel r = 0.25", most, *SKELETON, rounds)
    arms.append(replace(skeleton, counts=(size.skeleton_rounds // 2, -1), tells_parity=False))
    for name, ranks, words in others:
        note, start = (words, []) if isinstance(words, str) else ("", [*words, folder])
        once = 1 if name.startswith("Flower") else size.passes  # half a minute to start
        arms.append(Arm(name, start, ranks, own=False, passes=once, counts=(1, None), note=note))
    for arm in arms:
        if not arm.note and not launch.can(arm.ranks) and arm.own:
            arm.note = f"{arm.ranks} ranks need mpiexec"
    return arms


def _measure(launch: Launch, arm: Arm) -> None:
    """Run an arm once and store its results; a failure of another program becomes a note."""
    try:
        if arm.own:
            found = launch.fedmpi(arm.words, arm.ranks)
        else:
            found = launch.run(arm.words)
    except FedmpiError as error:
        if arm.own:
            raise
        arm.note = f"failed: {error}"
        return
    arm.found = arm.found or found
    arm.seconds += found["seconds"][slice(*arm.counts)]
    arm.bare += found.get("bare", [])[slice(*arm.counts)]


def _startup(launch: Launch, folder: Path, size: Size) -> Spread:
    """Return the Spread of seconds from the launcher to the end of the first training step.

    Each rank takes one step; the time includes reading the data, loading kernels, and the sums.
    """
    ranks = size.ranks[-1]
    if not launch.can(ranks):
        return Spread.of([])
    few = f"clients.per_round={ranks}", "clients.local_steps=1", "run.rounds=2"
    words: list[Word] = ["bench", "run", folder / "bench.toml", *(f"--set={one}" for one in few)]
    found = [launch.fedmpi(words, ranks) for _ in range(size.starts)]
    return Spread.of([one["first_round_at"] - one["launched_at"] for one in found])


def _over_bare(arms: list[Arm]) -> Spread:
    """Return the Spread of the round loop's overhead over bare training, as a share of it."""
    found = [one for arm in arms if arm.bare for one in ratios(arm.seconds, arm.bare)]
    return Spread.of(np.array(found) - 1)


def _row(arm: Arm, size: Size) -> Found:
    """Return the results of an arm as plain values."""
    row = {"name": arm.name, "ranks": arm.ranks, "note": arm.note}
    if not arm.seconds:
        return row
    rates = size.per_round / np.array(arm.seconds)
    row |= {"clients_per_second": Spread.of(rates).plain()}
    row |= {"seconds": Spread.of(arm.seconds).plain()}
    row |= {"accuracy": arm.found["accuracy"], "first_round": arm.found["seconds"][0]}
    if arm.bare:
        row["bare_clients_per_second"] = Spread.of(size.per_round / np.array(arm.bare)).plain()
    keys = ("engine", "phases", "weights_sha256")
    return row | {key: arm.found[key] for key in keys if key in arm.found}


def _bars(
    arms: list[Arm], size: Size, over_bare: Spread, startup: Spread, held: Found | None
) -> list[Bar]:
    """Return the Bars of the round loop."""
    most = size.ranks[-1]
    rates = {
        (arm.name, arm.ranks): size.per_round / float(np.median(arm.seconds))
        for arm in arms
        if arm.seconds
    }
    best = rates.get(("fedmpi", most))

    def over(name: str, ranks: int) -> float | None:
        other = rates.get((name, ranks))
        return best / other if best and other else None

    def note(name: str) -> str:
        return next((arm.note for arm in arms if arm.name == name), "")

    skeleton = over("fedmpi, FedSkel r = 0.25", most)
    return [
        Bar("round loop: share added to bare training", over_bare.median, 0.03, False),
        Bar(f"{most} ranks over 1 rank", over("fedmpi", 1), 0.9 * most),
        Bar("start-up to the first training step, s", startup.median, 2.5, False),
        *(resident_memory.bars(held) if held else ()),
        Bar("over pfl", over("pfl 0.6.0", most), 2.5, note=note("pfl 0.6.0")),
        Bar("over Flower", over("Flower 1.41.0", most), 15.0, note=note("Flower 1.41.0")),
        Bar("FedSkel r = 0.25 over FedAvg", 1 / skeleton if skeleton else None, 1.0),
        Bar("accuracy: largest difference between arms", _parity(arms), PARITY, False),
        Bar("kinds of weights of one engine on any ranks", _kinds(arms), 1.0, False),
    ]


def _parity(arms: list[Arm]) -> float | None:
    """Return the largest difference of accuracy between arms after the same rounds."""
    found = [arm.found["accuracy"] for arm in arms if arm.found and arm.tells_parity]
    return max(found) - min(found) if found else None


def _kinds(arms: list[Arm]) -> int | None:
    """Return how many different final weights fedmpi had over the rank counts; None without any."""
    own = [arm.found["weights_sha256"] for arm in arms if arm.name == "fedmpi" and arm.found]
    return len(set(own)) or None
