"""Messages between ranks, replayed on a modelled network.

LogGP (Alexandrov et al., SPAA 1995): a message of b bytes keeps its sender busy for o and
its network card for b G, is at its target after o + L + b G, and keeps that busy for o.
The ranks of a node share one card. A replay takes rounds of messages; every rank's clock
only moves by what it computes, sends and receives, so fast ranks run ahead.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Network:
    """LogGP parameters, and what a rank takes to list and to add."""

    latency: float  # L, seconds
    overhead: float  # o, seconds of either side per message
    per_byte: float  # G, seconds
    work: float = 2.5e-10  # seconds to list and add one byte of a list
    per_node: int = 1  # ranks that share a network card

    @classmethod
    def of(cls, cost):
        """Return the network that the measured costs of this machine stand for."""
        third = cost.alpha / 3  # alpha = L + 2 o
        return cls(third, third, cost.beta)


NETWORKS = {
    "10 Gbit/s Ethernet": Network(1.5e-5, 2.5e-6, 8e-10),
    "100 Gbit/s InfiniBand": Network(1e-6, 5e-7, 8e-11),
}


@dataclass(frozen=True, eq=False)
class Round:
    """Messages that pass at one time; a rank sends at most one of them.

    source, target : int64[m]; a target of -1 is nobody
    bytes : float64[m]
    work : float64[m] or float, seconds that the source computes before it sends
    adding : float64[m] or float, seconds that the target computes on what it gets
    """

    source: np.ndarray
    target: np.ndarray
    bytes: np.ndarray
    work: np.ndarray | float = 0.0
    adding: np.ndarray | float = 0.0


def lists(source, target, size, network):
    """Return the Round of lists, which are made before they are sent and added after."""
    half = network.work / 2 * size
    return Round(source, target, size, half, half)


def replay(rounds, ranks, network):
    """Return float64[ranks]: when each rank is done with the rounds, in seconds."""
    clock, card = np.zeros(ranks), np.zeros(-(-ranks // network.per_node))
    for messages in rounds:
        source, target, size = messages.source, messages.target, messages.bytes
        clock[source] += messages.work
        leave = clock[source]
        sent = target >= 0
        for turn in range(network.per_node):  # ranks of a node queue at their card
            mine = sent & (source % network.per_node == turn)
            node = source[mine] // network.per_node
            leave[mine] = np.maximum(leave[mine], card[node])
            card[node] = leave[mine] + size[mine] * network.per_byte
        clock[source] = leave + network.overhead * sent
        arrive = leave + network.overhead + network.latency + size * network.per_byte
        np.maximum.at(clock, target[sent], arrive[sent])
        np.add.at(clock, target[sent], (messages.adding + network.overhead * sent)[sent])
    return clock


def logged(rows, ranks):
    """Yield the Rounds of the logs of all ranks, rows of `fedmpi.comm.reduce.log.COLUMNS`.

    Work is that which was measured. Collectives are taken for the best algorithm known.
    """
    for step in np.unique(rows["step"]):
        for kind in ("pair", "allreduce", "allgather", "done"):
            now = rows[(rows["step"] == step) & (rows["kind"] == kind)]
            size = now["bytes"].astype(float)
            while now.size:  # a rank that serves two sends twice
                _, once = np.unique(now["source"], return_index=True)
                turn, size, rest = now[once], now["bytes"][once].astype(float), np.delete(now, once)
                yield Round(turn["source"], turn["target"], size, turn["work"])
                now = rest
            if kind == "allreduce" and size.size:
                yield from dense(ranks, float(size.max()) * ranks / (2 * (ranks - 1)))
            elif kind == "allgather" and size.size:
                yield from gather(np.maximum(size.sum() / (ranks - 1) - size, 0.0))


def gather(sizes, work=0.0):
    """Yield the rounds in which all get the blocks of all, `sizes` bytes (Bruck et al. 1997).

    ceil(log2 P) rounds: in each a rank has the blocks of a run of ranks and gets as
    many again. `work` seconds per byte are spent on what is got.
    """
    ranks, have = sizes.size, 1
    ends = np.concatenate(([0], np.cumsum(np.tile(sizes, 2))))
    me = np.arange(ranks)
    while have < ranks:
        more = min(have, ranks - have)
        source = (me + have) % ranks
        size = ends[source + more] - ends[source]
        yield Round(source, me, size, adding=work * size)
        have += more


def dense(ranks, size):
    """Yield the rounds of a dense Allreduce of `size` bytes (Rabenseifner 2004).

    Halving and doubling among the largest power of two of the ranks; the others hand
    their vector to a neighbour first and get the sum last.
    """
    power = 1 << (ranks.bit_length() - 1)
    extra = np.arange(power, ranks)
    if extra.size:
        yield Round(extra, extra - power, np.full(extra.size, float(size)))
    me, part = np.arange(power), float(size)
    parts = []
    while len(parts) < power.bit_length() - 1:
        part /= 2
        parts.append(part)
    for depth, part in [*enumerate(parts), *reversed(list(enumerate(parts)))]:
        yield Round(me, me ^ (power >> (depth + 1)), np.full(power, part))
    if extra.size:
        yield Round(extra - power, extra, np.full(extra.size, float(size)))


def trace(rounds, ranks, speed=1e9):
    """Return, for each rank, the lines of a SimGrid time-independent trace of the rounds.

    `speed` is that of SimGrid's hosts in flop/s: work is written as flops. Replay with
    `smpirun -replay`, to check our own replay from outside.
    """
    lines = [[f"{rank} init"] for rank in range(ranks)]
    for tag, messages in enumerate(rounds):
        table = np.broadcast_arrays(
            messages.source, messages.target, messages.bytes, messages.work, messages.adding
        )
        moves = [tuple(x.item() for x in row) for row in zip(*table)]
        sent = [move for move in moves if move[1] >= 0]
        for source, target, size, _, _ in sent:
            lines[target].append(f"{target} irecv {source} {tag} {size:.0f} 6")
        for source, target, size, work, _ in moves:
            lines[source].append(f"{source} compute {work * speed:.0f}")
            if target >= 0:
                lines[source].append(f"{source} isend {target} {tag} {size:.0f} 6")
        for source, target, _, _, adding in sent:
            lines[target].append(f"{target} wait {source} {target} {tag}")
            lines[target].append(f"{target} compute {adding * speed:.0f}")
        for source, target, _, _, _ in sent:
            lines[source].append(f"{source} wait {source} {target} {tag}")
    return [[*mine, f"{rank} finalize"] for rank, mine in enumerate(lines)]
