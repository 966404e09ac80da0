"""Replay messages between ranks on a modelled network.

The model is LogGPS (Ino, Fujimoto, Hagihara, PPoPP 2001; LogGP with a handshake before long
messages): a message of b bytes reaches its target after o + L + b G, plus S if it is long, and
keeps the target busy for o. The sender waits until its bytes have left, as in fedmpi's reductions.
A replay takes rounds of messages. Each rank's clock advances only by what the rank computes, sends
and receives, so fast ranks run ahead.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fedmpi.arrays import AnyArray, Integers, Reals

LONG = 1 << 16  # bytes of a message sent at once, FIRST of fedmpi/comm/reduce/link.py


@dataclass(frozen=True)
class ModelledNetwork:
    """LogGP parameters, and the times that a rank takes to list and to add."""

    latency: float  # L, seconds
    overhead: float  # o, seconds of each side per message
    per_byte: float  # G, seconds
    handshake: float = 0.0  # S, further seconds for a message of more than LONG bytes
    work: float = 2.5e-10  # seconds to list and add one byte of a list
    combine: float = 0.0  # seconds to add one byte of a vector, in built-in sums

    def wire(self, size: Reals) -> Reals:
        """Return the seconds from the first byte of messages to the last, float64[m]."""
        return size * self.per_byte + self.handshake * (size > LONG)


# The handshake is one round trip. Vectors are added at 8 GB/s.
NETWORKS = {
    "10 Gbit/s Ethernet": ModelledNetwork(1.5e-5, 2.5e-6, 8e-10, 3.5e-5, combine=1.25e-10),
    "100 Gbit/s InfiniBand": ModelledNetwork(1e-6, 5e-7, 8e-11, 3e-6, combine=1.25e-10),
}


@dataclass(frozen=True, eq=False)
class Round:
    """Messages that are sent at the same time; a rank sends at most one of them.

    source, target : int64[m]; a target of -1 stands for no message
    bytes : float64[m]
    work : float64[m] or float, seconds that the source computes before it sends
    adding : float64[m] or float, seconds that the target computes on the message
    """

    source: Integers
    target: Integers
    bytes: Reals
    work: Reals | float = 0.0
    adding: Reals | float = 0.0


def lists(source: Integers, target: Integers, size: Reals, network: ModelledNetwork) -> Round:
    """Return the Round of lists, which are made before they are sent and added afterwards."""
    half = network.work / 2 * size
    return Round(source, target, size, half, half)


def replay(rounds: Iterable[Round], ranks: int, network: ModelledNetwork) -> Reals:
    """Return float64[ranks]: the time in seconds at which each rank is done with the rounds."""
    return replays(rounds, ranks, [network])[0]


def replays(
    rounds: Iterable[Round], ranks: int, networks: Sequence[ModelledNetwork]
) -> list[Reals]:
    """Return the result of `replay` for each of several networks; the rounds are made once."""
    clocks = [np.zeros(ranks) for _ in networks]
    for messages in rounds:
        for network, clock in zip(networks, clocks, strict=True):
            _pass(messages, network, clock)
    return clocks


def _pass(messages: Round, network: ModelledNetwork, clock: Reals) -> None:
    """Replay the messages of a Round: advance the clocks of the ranks, in place."""
    source, target, size = messages.source, messages.target, messages.bytes
    clock[source] += messages.work
    sent = target >= 0
    gone = clock[source] + (network.overhead + network.wire(size)) * sent
    clock[source] = gone
    arrive = gone + network.latency
    np.maximum.at(clock, target[sent], arrive[sent])
    np.add.at(clock, target[sent], (messages.adding + network.overhead * sent)[sent])


def logged(rows: AnyArray, ranks: int, combine: float = 0.0) -> Iterator[Round]:
    """Yield the Rounds of the logs of all ranks, rows of `fedmpi.comm.reduce.log.COLUMNS`.

    Work is the measured work. Collectives are assumed to use the best algorithm known, with
    `combine` seconds per byte added.
    """
    for step in np.unique(rows["step"]):
        for kind in ("pair", "allreduce", "allgather", "done"):
            now = rows[(rows["step"] == step) & (rows["kind"] == kind)]
            if not now.size:
                continue
            size = now["bytes"].astype(float)
            yield Round(now["source"], now["target"], size, now["work"])
            if kind == "allreduce":
                whole = float(size.max()) * ranks / (2 * (ranks - 1))
                yield from dense(ranks, whole, combine)
            elif kind == "allgather":
                yield from gather(np.maximum(size.sum() / (ranks - 1) - size, 0.0))


def gather(sizes: Reals, work: float = 0.0) -> Iterator[Round]:
    """Yield the rounds of an allgather of blocks of `sizes` bytes, float64[P].

    Short blocks take ceil(log2 P) rounds; in each, a rank has the blocks of consecutive ranks and
    receives as many again (Bruck et al. 1997). Long blocks go directly from each rank to each. A
    rank spends `work` seconds per byte received.
    """
    ranks, have = sizes.size, 1
    me = np.arange(ranks)
    if sizes.max() > LONG:
        for step in range(1, ranks):
            yield Round(me, (me + step) % ranks, sizes)
        yield Round(me, np.full(ranks, -1), np.zeros(ranks), work * (sizes.sum() - sizes))
        return
    ends = np.concatenate(([0], np.cumsum(np.tile(sizes, 2))))
    while have < ranks:
        more = min(have, ranks - have)
        source = (me + have) % ranks
        size = ends[source + more] - ends[source]
        yield Round(source, me, size, adding=work * size)
        have += more


def dense(ranks: int, size: float, combine: float = 0.0) -> Iterator[Round]:
    """Yield the rounds of a dense Allreduce of `size` bytes (Rabenseifner 2004).

    Halving and doubling run among the largest power of two of the ranks. The other ranks first send
    their vector to a neighbour, and receive the sum at the end. Adding vectors takes `combine`
    seconds per byte.
    """
    power = 1 << (ranks.bit_length() - 1)
    extra = np.arange(power, ranks)
    if extra.size:
        handed = np.full(extra.size, float(size))
        yield Round(extra, extra - power, handed, adding=combine * handed)
    me, depths = np.arange(power), range(power.bit_length() - 1)
    for depth in depths:
        part = np.full(power, size / 2 ** (depth + 1))
        yield Round(me, me ^ (power >> (depth + 1)), part, adding=combine * part)
    for depth in reversed(depths):
        part = np.full(power, size / 2 ** (depth + 1))
        yield Round(me, me ^ (power >> (depth + 1)), part)
    if extra.size:
        yield Round(extra - power, extra, np.full(extra.size, float(size)))


def trace(rounds: Iterable[Round], ranks: int, speed: float = 1e9) -> list[list[str]]:
    """Return, for each rank, the lines of a SimGrid time-independent trace of the rounds.

    `speed` is the speed of SimGrid's hosts in flop/s: work is written as flops. The trace can be
    replayed with `smpirun -replay`, as an independent check of `replay`.
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
