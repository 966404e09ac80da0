"""What the sums would take on thousands of ranks: their messages, from sampled supports.

Every rank's support is drawn on a sample of the coordinates; the messages are those
that the algorithms of `fedmpi.comm.reduce` would send for exactly these supports, in
size and order, and are replayed on a modelled network (replay.py).
"""

from dataclasses import dataclass

import numpy as np

from fedmpi.bench.replay import NETWORKS, Network, dense, gather, lists, logged, replay
from fedmpi.comm.reduce import Log, Reducer
from fedmpi.comm.reduce.cost import measure
from fedmpi.comm.reduce.halving import levels
from fedmpi.comm.reduce.link import Link
from fedmpi.comm.reduce.log import COLUMNS
from fedmpi.comm.reduce.message import HEAD
from fedmpi.rng import rng_for

SAMPLE = 1 << 17  # coordinates that are drawn, for ranges of 32 on 4,096 ranks
RANKS = (4, 16, 64, 256, 1024, 4096)


@dataclass(frozen=True, eq=False)
class Supports:
    """Which of the sampled coordinates each rank touches.

    bits : uint8[P, size / 8]
    stands_for : coordinates of the model for each sampled one
    per_value : bytes of a value
    """

    bits: np.ndarray
    stands_for: float = 1.0
    per_value: int = 8

    @classmethod
    def draw(cls, ranks, n, density, size=SAMPLE):
        """Return independent supports of one density for a model of `n` coordinates."""
        rows = (rng_for(1, "scale", 0, rank).random(size) < density for rank in range(ranks))
        return cls(np.array([np.packbits(row) for row in rows]), n / size)

    @property
    def ranks(self):
        """Number of ranks, P."""
        return len(self.bits)

    @property
    def size(self):
        """Number of sampled coordinates."""
        return 8 * self.bits.shape[1]

    @property
    def dense_bytes(self):
        """Bytes of a vector of all coordinates."""
        return self.size * self.stands_for * self.per_value

    def list_bytes(self, counts, among):
        """Return the bytes of lists of `counts` out of `among` sampled coordinates."""
        counts = np.asarray(counts, np.float64)
        support = np.where(counts == among, 0, np.minimum(4 * counts, np.asarray(among) / 8))
        return HEAD + self.stands_for * (counts * self.per_value + support)

    def bounds(self, shares, lo=0, hi=None):
        """Cut lo..hi-1 in proportion to the shares, at multiples of 8."""
        hi = self.size if hi is None else hi
        cuts = lo + (hi - lo) * np.cumsum(shares) // np.sum(shares) // 8 * 8
        return np.concatenate(([lo], cuts[:-1], [hi]))


def allgatherv(supports, network):
    """Yield the rounds of an allgatherv of all lists."""
    counts = _counts(supports.bits).sum(1)
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
    "dense": lambda supports, network: dense(supports.ranks, supports.dense_bytes),
}


def run(n=10**7, density=0.01, ranks=RANKS, networks=NETWORKS):
    """Return rows for JSON: predicted seconds of every method, number of ranks and network."""
    rows = []
    for count in ranks:
        supports = Supports.draw(count, n, density)
        for method, rounds in METHODS.items():
            for name, network in networks.items():
                seconds = float(replay(rounds(supports, network), count, network).max())
                rows.append({"network": name, "ranks": count, "method": method, "seconds": seconds})
    return rows


def check(raw, n=10**6, density=0.02, repeats=15, methods=("halving", "split", "allgatherv")):
    """Replay the logs of real sums on the ranks of mpi4py communicator `raw`.

    Returns {method: (seconds taken, seconds predicted)}, alike on all ranks. The network
    is this machine as it was measured just before.
    """
    mine = rng_for(1, "scale check", 0, raw.rank).random(n) < density
    found = {}
    for method in methods:
        log = Log()
        reducer, network = Reducer(raw, method, log=log), Network.of(measure(Link(raw)))
        best = np.inf, 0.0
        for _ in range(repeats):
            total, touched = mine.astype(np.int64), mine.astype(np.uint8)
            log.clear()
            raw.Barrier()
            taken = _slowest(raw, reducer.sum(total, 0, touched).record.seconds)
            clock = replay(logged(_everyone(raw, log.rows()), raw.size), raw.size, network)
            best = min(best, (taken, float(clock.max())))
        found[method] = best
        reducer.close()
    return found


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


def _everyone(raw, rows):
    """Return the log rows of all ranks."""
    counts = np.empty(raw.size, np.int64)
    raw.Allgather(np.array([rows.nbytes]), counts)
    every = np.empty(int(counts.sum()), np.uint8)
    raw.Allgatherv(rows.view(np.uint8), [every, counts])
    return every.view(COLUMNS)


def _slowest(raw, seconds):
    """Return the largest of one number per rank."""
    every = np.empty(raw.size)
    raw.Allgather(np.array([seconds]), every)
    return float(every.max())
