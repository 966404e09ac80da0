"""Predict the sums on thousands of ranks by replaying their messages on a modelled network.

The messages come from sum_messages.py. check.py measures the error of a replayed sum, and
emulated_rounds.py the error of predicted whole rounds.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedmpi.bench import contributions, emulated_rounds, environment, simgrid, whole_rounds
from fedmpi.bench.check import BOUND
from fedmpi.bench.drawn_supports import Supports
from fedmpi.bench.measure import Bar, Found, Say, judged, plain
from fedmpi.bench.processes import Launch
from fedmpi.bench.replay import NETWORKS, replay
from fedmpi.bench.sum_messages import METHODS, fastest, seconds, whole

RANKS = (4, 16, 64, 256, 1024, 4096)
COORDINATES, DENSITY = 10**7, 0.01  # of a model, and the share of them that a rank touches
PUBLISHED = 48  # nodes of the speed-up that the authors of PaSSiFLora report


def independent(ranks: Sequence[int]) -> list[Found]:
    """Return rows for JSON: predicted seconds of every algorithm on independent supports."""
    rows: list[Found] = []
    every = Supports.draw(max(ranks), COORDINATES, DENSITY)
    for count in ranks:
        supports = replace(every, bits=every.bits[:count])
        for method, rounds in METHODS.items():
            taken = seconds(supports, list(NETWORKS.values()), rounds)
            rows += [{"network": name, "ranks": count, "method": method, "seconds": one}
                     for name, one in zip(NETWORKS, taken, strict=True)]  # fmt: skip
    return rows


def of_method(
    method: str, watched: contributions.Watched, ranks: Sequence[int]
) -> list[Found]:
    """Return rows for JSON: predicted seconds of the sums of one round of a real method.

    `watched` is from contributions.py. Every rank has one client, drawn from the recorded clients;
    each sum is made by the algorithm that is fastest for it.
    """
    sums = watched.sums
    rows: list[Found] = []
    most = max(sums, key=lambda one: one.starts[-1])
    for count in ranks:
        every = {one.name: Supports.of(one, count) for one in sums}
        largest = every[most.name]
        links = list(NETWORKS.values())
        best = {key: fastest(supports, links) for key, supports in every.items()}
        dense = np.sum([seconds(one, links, whole) for one in every.values()], axis=0)
        for i, name in enumerate(NETWORKS):
            rows.append({
                "network": name,
                "ranks": count,
                "method": method,
                "density": most.coordinates / most.starts[-1],
                "union": largest.union,
                "algorithm": best[most.name][i][1],
                "seconds": sum(found[i][0] for found in best.values()),
                "memory": watched.memory,
                "dense": dense[i],
            })  # fmt: skip
    return rows


def run(launch: Launch, quick: bool, say: Say) -> Found:
    """Measure and predict everything; starts its own ranks by `launch` (processes.py).

    Returns a dict for JSON: "checks" (the results of check.py on 2, 3 and 4 ranks), "rows" (see
    `independent`), "methods" (see `of_method`), "rounds" (see whole_rounds.scaling), "published"
    (the same for PUBLISHED ranks), "emulated" (see emulated_rounds.run), "machine" and "bars".
    `say` is called with a text at each step.
    """
    machine = environment.described(launch)
    checks: list[Found] = []
    words = ["bench", "scale", *(["--quick"] if quick else [])]
    for count in (2,) if quick else (2, 3, 4):
        if launch.can(count):
            say(f"replay against real sums on {count} ranks")
            checks.append(launch.fedmpi(words, count))
    ranks = RANKS[: 2 if quick else None]
    say("independent supports")
    rows, (methods, published) = independent(ranks), _of_all_methods(quick, ranks, say)
    say("whole rounds on one rank, and on as many as there are cores")
    measured, taken = whole_rounds.measure(
        launch, whole_rounds.QUICK if quick else whole_rounds.Case()
    )
    rounds = whole_rounds.scaling(measured, methods, NETWORKS)
    published = whole_rounds.scaling(measured, published, NETWORKS)
    bars = [Bar(bar["name"], bar["value"], bar["bound"], at_least=False)
            for check in checks for bar in check["bars"]]  # fmt: skip
    bars += against_simgrid(ranks[:2]) + whole_rounds.checked(measured, taken)
    emulated = emulated_rounds.run(launch, quick, say)
    bars += emulated.pop("bars")
    machine["load_after"] = os.getloadavg()
    return dict(plain({
        "checks": checks, "rows": rows, "methods": methods, "rounds": rounds,
        "published": published, "emulated": emulated, "machine": machine,
        "bars": judged(bars, quick),
    }))  # fmt: skip


def _of_all_methods(
    quick: bool, ranks: Sequence[int], say: Say
) -> tuple[list[Found], list[Found]]:
    """Return the rows of `of_method` for all methods, on `ranks` and on PUBLISHED ranks."""
    methods: list[Found] = []
    published: list[Found] = []
    for name in contributions.METHODS:
        say(f"supports of {name}")
        watched = contributions.of_method(name, *((4, "lenet5") if quick else ()))
        methods += of_method(name, watched, ranks)
        published += of_method(name, watched, (PUBLISHED,))
    return methods, published


def against_simgrid(ranks: Sequence[int]) -> list[Bar]:
    """Return a Bar per algorithm and number of ranks: seconds over SimGrid's, or the inverse."""
    network = simgrid.bare(NETWORKS["10 Gbit/s Ethernet"])
    bars: list[Bar] = []
    for count in ranks:
        supports = Supports.draw(count, COORDINATES, DENSITY)
        for name, method in METHODS.items():
            off, note = None, "needs smpirun of SimGrid"
            if simgrid.found():
                theirs = simgrid.seconds(method(supports, network), count, network)
                ours = float(replay(method(supports, network), count, network).max())
                off, note = max(ours / theirs, theirs / ours), ""
            label = f"replay against SimGrid, {name}, {count} ranks"
            bars.append(Bar(label, off, BOUND, False, note))
    return bars
