"""What the sums would take on thousands of ranks: their messages, replayed on a modelled network.

The messages are those that the algorithms of `fedmpi.comm.reduce` would send for exactly the
supports that are given (drawn_supports.py), in size and order, the small ones before a sum too.
How near a replay comes is measured by check.py.
"""

from itertools import chain

import numpy as np

from fedmpi.bench import contributions, simgrid, whole_rounds
from fedmpi.bench.check import BOUND
from fedmpi.bench.drawn_supports import Supports
from fedmpi.bench.measure import Bar, judged, plain
from fedmpi.bench.replay import NETWORKS, dense, gather, lists, replay
from fedmpi.comm.reduce.forecast import BINS, MARKS
from fedmpi.comm.reduce.halving import levels

RANKS = (4, 16, 64, 256, 1024, 4096)


def before(supports, network):
    """Yield the rounds before a sum: what every rank is about to add, and weights of units."""
    yield from gather(np.full(supports.ranks, 8.0 * (MARKS.stop + BINS)))
    if supports.units:
        for size in (8 * supports.units, -(-supports.units // 8)):
            yield from dense(supports.ranks, size, network.combine)


def whole(supports, network):
    """Yield the rounds of MPI's own Allreduce of all coordinates."""
    return dense(supports.ranks, supports.dense_bytes, network.combine)


def shared(supports, network):
    """Yield the rounds of an Allreduce of the packed values, where all supports are the same."""
    size = supports.held[0] * supports.stands_for * supports.per_value
    return dense(supports.ranks, size, network.combine)


def allgatherv(supports, network):
    """Yield the rounds of an allgatherv of all lists."""
    counts = supports.held
    yield from gather(supports.list_bytes(counts, supports.size), network.work)


def halving(supports, network):
    """Yield the rounds of sparse recursive halving and doubling."""
    bits, ranks = supports.bits.copy(), supports.ranks
    cuts = [levels(rank, ranks, supports) for rank in range(ranks)]
    for depth in range(max(map(len, cuts))):
        now = [(r, mine[depth]) for r, mine in enumerate(cuts) if depth < len(mine)]
        parts = [(r, level.partner, *level.give) for r, level in now]
        yield _lists(supports, network, parts, bits)
        for source, target, lo, hi in parts:
            bits[target, lo // 8 : hi // 8] |= bits[source, lo // 8 : hi // 8]
    union = np.bitwise_or.reduce(supports.bits, axis=0)[None]
    for depth in reversed(range(max(map(len, cuts)))):
        now = [(r, mine[depth]) for r, mine in enumerate(cuts) if depth < len(mine)]
        yield _lists(
            supports, network, [(r, v.partner, *v.keep) for r, v in now if not v.alone], union
        )
        odd = [(r, v.odd, *v.keep) for r, v in now if v.odd is not None]
        if odd:
            yield _lists(supports, network, odd, union)


def scatter(supports, network):
    """Yield the rounds in which every rank gets its range of all lists."""
    ranks, me = supports.ranks, np.arange(supports.ranks)
    bounds = supports.bounds([1] * ranks)
    below = np.concatenate((np.zeros((ranks, 1), int), _counts(supports.bits).cumsum(1)), axis=1)
    held = np.diff(below[:, bounds // 8], axis=1)
    for step in range(1, ranks):
        target = (me + step) % ranks
        size = supports.list_bytes(held[me, target], np.diff(bounds)[target])
        yield lists(me, target, size, network)


def split(supports, network):
    """Yield the rounds of split and sparse allgather."""
    yield from scatter(supports, network)
    bounds = supports.bounds([1] * supports.ranks)
    union = _counts(np.bitwise_or.reduce(supports.bits, axis=0))
    counts = np.diff(np.concatenate(([0], union.cumsum()))[bounds // 8])
    yield from gather(supports.list_bytes(counts, np.diff(bounds)), network.work)


def dsar(supports, network):
    """Yield the rounds of split and dense allgather."""
    yield from scatter(supports, network)
    yield from gather(np.full(supports.ranks, supports.dense_bytes / supports.ranks))


METHODS = {
    "allgatherv": allgatherv,
    "halving": halving,
    "split": split,
    "dsar": dsar,
    "dense": whole,
}


def seconds(supports, network, method):
    """Return when the last rank has the sum, by a function of METHODS, or `shared`."""
    rounds = chain(before(supports, network), method(supports, network))
    return float(replay(rounds, supports.ranks, network).max())


def independent(n=10**7, density=0.01, ranks=RANKS, networks=NETWORKS):
    """Return rows for JSON: predicted seconds of every algorithm on independent supports."""
    rows = []
    for count in ranks:
        supports = Supports.draw(count, n, density)
        for name, network in networks.items():
            for method, rounds in METHODS.items():
                taken = seconds(supports, network, rounds)
                rows.append({"network": name, "ranks": count, "method": method, "seconds": taken})
    return rows


def of_method(method, watched, ranks=RANKS, networks=NETWORKS):
    """Return rows for JSON: predicted seconds of the sums of one round of a real method.

    `watched` is from contributions.py. Every rank has one client, drawn from those that were
    watched; each sum is made by the algorithm that is fastest for it.
    """
    sums, rows = watched.sums, []
    most = max(sums, key=lambda one: one.starts[-1])
    for count in ranks:
        every = {one.name: Supports.of(one, count) for one in sums}
        largest = every[most.name]
        for name, network in networks.items():
            best = {key: _best(supports, network) for key, supports in every.items()}
            rows.append({
                "network": name,
                "ranks": count,
                "method": method,
                "density": most.coordinates / most.starts[-1],
                "union": largest.union,
                "algorithm": best[most.name][1],
                "seconds": sum(taken for taken, _ in best.values()),
                "memory": watched.memory,
                "dense": sum(seconds(one, network, whole) for one in every.values()),
            })  # fmt: skip
    return rows


def run(launch, quick, say):
    """Measure and predict everything; starts its own ranks by `launch` (processes.py).

    Returns a dict for JSON: "checks" (what check.py finds on 2, 3 and 4 ranks), "rows" (see
    `independent`), "methods" (see `of_method`), "rounds" (see whole_rounds.scaling) and "bars".
    `say` gets a text at each step.
    """
    checks, words = [], ["bench", "scale", *(["--quick"] if quick else [])]
    for count in (2,) if quick else (2, 3, 4):
        if launch.can(count):
            say(f"replay against real sums on {count} ranks")
            checks.append(launch.fedmpi(words, count))
    ranks = RANKS[: 2 if quick else None]
    say("independent supports")
    rows, methods = independent(ranks=ranks), []
    for name in contributions.METHODS:
        say(f"supports of {name}")
        how = {"clients": 4, "model": "lenet5"} if quick else {}
        methods += of_method(name, contributions.of_method(name, **how), ranks)
    say("whole rounds on one rank, and on as many as there are cores")
    measured, taken = whole_rounds.measure(
        launch, whole_rounds.QUICK if quick else whole_rounds.Case()
    )
    rounds = whole_rounds.scaling(measured, methods, NETWORKS)
    bars = [Bar(*(bar[key] for key in ("name", "value", "bound")), at_least=False)
            for check in checks for bar in check["bars"]]  # fmt: skip
    bars += against_simgrid(ranks[:2]) + whole_rounds.checked(measured, taken)
    return plain({
        "checks": checks, "rows": rows, "methods": methods, "rounds": rounds,
        "bars": judged(bars, quick),
    })  # fmt: skip


def against_simgrid(ranks):
    """Return a Bar for each algorithm and number of ranks: our seconds over SimGrid's, or its."""
    network, bars = simgrid.bare(NETWORKS["10 Gbit/s Ethernet"]), []
    for count in ranks:
        supports = Supports.draw(count, 10**7, 0.01)
        for name, method in METHODS.items():
            off, note = None, "needs smpirun of SimGrid"
            if simgrid.found():
                theirs = simgrid.seconds(method(supports, network), count, network)
                ours = float(replay(method(supports, network), count, network).max())
                off, note = max(ours / theirs, theirs / ours), ""
            label = f"replay against SimGrid, {name}, {count} ranks"
            bars.append(Bar(label, off, BOUND, False, note))
    return bars


def _best(supports, network):
    """Return (seconds, name) of the fastest algorithm; equal supports are summed without lists."""
    ways = {"shared": shared, "dense": whole} if supports.same else METHODS
    return min((seconds(supports, network, way), name) for name, way in ways.items())


def _counts(bits):
    """Return the set bits of each byte."""
    return np.bitwise_count(bits).astype(np.int64)


def _lists(supports, network, parts, bits):
    """Return the Round of lists (source, target, lo, hi); `bits` has a row per rank, or one."""
    source, target, lo, hi = np.array(parts).T
    rows = source if len(bits) > 1 else np.zeros_like(source)
    held = [
        int(np.bitwise_count(bits[r, a // 8 : b // 8]).sum())
        for r, a, b in zip(rows, lo, hi, strict=True)
    ]
    return lists(source, target, supports.list_bytes(held, hi - lo), network)


