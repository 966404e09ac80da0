"""The messages that `fedmpi.comm.reduce` would send in a sum over many ranks.

Their sizes and order are exact for the given supports (drawn_supports.py), and include the small
messages before a sum.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeAlias

import numpy as np

from fedmpi.arrays import Integers, Octets
from fedmpi.bench.drawn_supports import Supports
from fedmpi.bench.replay import ModelledNetwork, Round, dense, gather, lists, replays
from fedmpi.comm.reduce.forecast import BINS, MARKS
from fedmpi.comm.reduce.halving import levels

Messages: TypeAlias = Callable[[Supports, ModelledNetwork], Iterator[Round]]
"""A function that yields the rounds of a sum."""


def before(supports: Supports, network: ModelledNetwork) -> Iterator[Round]:
    """Yield the rounds before a sum: the sizes of all contributions, and the weights of units."""
    yield from gather(np.full(supports.ranks, 8.0 * (MARKS.stop + BINS)))
    if supports.units:
        for size in (8 * supports.units, -(-supports.units // 8)):
            yield from dense(supports.ranks, size, network.combine)


def whole(supports: Supports, network: ModelledNetwork) -> Iterator[Round]:
    """Yield the rounds of MPI's own Allreduce of all coordinates."""
    return dense(supports.ranks, supports.dense_bytes, network.combine)


def shared(supports: Supports, network: ModelledNetwork) -> Iterator[Round]:
    """Yield the rounds of an Allreduce of the packed values, for equal supports."""
    size = supports.held[0] * supports.stands_for * supports.per_value
    return dense(supports.ranks, size, network.combine)


def allgatherv(supports: Supports, network: ModelledNetwork) -> Iterator[Round]:
    """Yield the rounds of an allgatherv of all lists."""
    counts = supports.held
    yield from gather(supports.list_bytes(counts, supports.size), network.work)


def halving(supports: Supports, network: ModelledNetwork) -> Iterator[Round]:
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


def scatter(supports: Supports, network: ModelledNetwork) -> Iterator[Round]:
    """Yield the rounds in which every rank receives its range of all lists."""
    ranks, me = supports.ranks, np.arange(supports.ranks)
    bounds = supports.bounds([1] * ranks)
    below = np.concatenate((np.zeros((ranks, 1), int), _counts(supports.bits).cumsum(1)), axis=1)
    held = np.diff(below[:, bounds // 8], axis=1)
    for step in range(1, ranks):
        target = (me + step) % ranks
        size = supports.list_bytes(held[me, target], np.diff(bounds)[target])
        yield lists(me, target, size, network)


def split(supports: Supports, network: ModelledNetwork) -> Iterator[Round]:
    """Yield the rounds of split and sparse allgather."""
    yield from scatter(supports, network)
    bounds = supports.bounds([1] * supports.ranks)
    union = _counts(np.bitwise_or.reduce(supports.bits, axis=0))
    counts = np.diff(np.concatenate(([0], union.cumsum()))[bounds // 8])
    yield from gather(supports.list_bytes(counts, np.diff(bounds)), network.work)


def dsar(supports: Supports, network: ModelledNetwork) -> Iterator[Round]:
    """Yield the rounds of split and dense allgather."""
    yield from scatter(supports, network)
    yield from gather(np.full(supports.ranks, supports.dense_bytes / supports.ranks))


METHODS: Mapping[str, Messages] = {
    "allgatherv": allgatherv,
    "halving": halving,
    "split": split,
    "dsar": dsar,
    "dense": whole,
}


def seconds(
    supports: Supports, networks: Sequence[ModelledNetwork], method: Messages
) -> list[float]:
    """Return the seconds until the last rank has the sum on each network.

    `method` is a function of METHODS, or `shared`. The messages are made once, so networks may
    differ in their links only, not in `work` and `combine`; otherwise raises ValueError.
    """
    first = networks[0]
    if any((one.work, one.combine) != (first.work, first.combine) for one in networks):
        raise ValueError("networks of one replay need the same work and combine")
    rounds = chain(before(supports, first), method(supports, first))
    return [float(clock.max()) for clock in replays(rounds, supports.ranks, networks)]


def fastest(
    supports: Supports, networks: Sequence[ModelledNetwork]
) -> list[tuple[float, str]]:
    """Return (seconds, name) of the fastest algorithm on each network.

    Equal supports are summed without lists.
    """
    ways: Mapping[str, Messages]
    ways = {"shared": shared, "dense": whole} if supports.same else METHODS
    taken = {name: seconds(supports, networks, way) for name, way in ways.items()}
    return [min((taken[name][i], name) for name in ways) for i in range(len(networks))]


def _counts(bits: Octets) -> Integers:
    """Return the set bits of each byte."""
    return np.bitwise_count(bits).astype(np.int64)


def _lists(
    supports: Supports, network: ModelledNetwork, parts: Sequence[tuple[int, int, int, int]],
    bits: Octets,
) -> Round:
    """Return the Round of lists (source, target, lo, hi); `bits` has a row per rank, or one."""
    source, target, lo, hi = np.array(parts).T
    rows = source if len(bits) > 1 else np.zeros_like(source)
    held = [
        int(np.bitwise_count(bits[r, a // 8 : b // 8]).sum())
        for r, a, b in zip(rows, lo, hi, strict=True)
    ]
    return lists(source, target, supports.list_bytes(held, hi - lo), network)


