"""The kernels of a run's first step and first sum, compiled in shares by the ranks of a node."""

import numpy as np

from fedmpi.kernels import batch_last, conv, loss, merge, owner, pack, ranges, tables, update

NONE = float("-inf")
PLACES, RUNS = np.zeros(1, np.int64), np.array([[0, 0, 16, 0, 1]])


def _mix() -> None:
    flat = np.zeros(16, np.float32)
    table = np.zeros(13, np.int64)  # without rows
    conv.mix(flat, flat, flat, table, 0, NONE, 0)
    conv.mix_samples(flat, flat, table, PLACES)


def _correlate() -> None:
    flat = np.zeros(16, np.float32)
    conv.correlate(flat, flat, flat, np.zeros(8, np.int64))


def _tables() -> None:
    tables.mix_table(*[PLACES] * 7, RUNS)
    columns = tables.padded(PLACES), tables.padded(PLACES, -1)
    parts = np.array([[0, 1, 0, 1]])
    tables.correlate_table(PLACES, PLACES, *columns, np.array([[0, 0, 16]]), parts)


def _batch() -> None:
    memory = np.zeros(4096, np.float32)
    batch_last.enter(memory, PLACES, np.zeros((1, 1), np.float32), PLACES, 16)
    batch_last.transpose(memory, 1024, 0, 16, 16, 16)
    batch_last.clear(memory, PLACES, 16)
    loss.cross_entropy(memory, 0, 16, 1, 16, PLACES)


def _sgd() -> None:
    flat, mask = np.zeros(64, np.float32), np.ones(64, np.uint8)
    edges = np.zeros(2 * pack.count(mask)[1], np.uint32)
    pack.edges(mask, edges)
    update.sgd(flat, flat, flat, flat, mask, edges, np.float32(0.1), 0.9, 0.0, 0.0)


def _merge() -> None:
    total, one, marks = np.zeros(64, np.int64), np.zeros((1, 1), np.int64), np.zeros(64, np.uint8)
    cover, bounds = np.zeros(64, np.int64), np.zeros(2, np.int64)
    flat, units = np.zeros(0, np.int64), np.array([0, 64])
    for starts, count in ((flat, 64), (units, 1)):
        merge.clear(total, cover[:count], marks[:count], starts)
        merge.copy(total, marks[:count], starts, total)
        ranges.loads(marks[:count], starts, 64, 1, one[0])
    ranges.cut(one, 64, 64, np.ones(1, np.int64), bounds)


def _blocks() -> None:
    total, rows = np.zeros(64, np.int64), np.zeros((1, 64), np.int64)
    one = np.zeros((1, 1), np.int64)
    seen, units = np.zeros((1, 1), np.uint8), np.array([0, 64])
    owner.blocks(total, one[0], np.zeros(1, np.uint8), units, 0, 64, rows, one, seen, seen[0])


# The kernels that a step of every model needs; those that take longest to compile come first.
STEP = (_mix, _correlate, _tables, _batch, _sgd)
SUM = (_blocks, _merge)  # the kernels of an exact sum over the ranks of a node


def warm_share(rank: int, ranks: int) -> None:
    """Compile or load the kernels that fall to number `rank` of the `ranks` ranks of a node.

    Every rank needs all of these kernels. If none is cached, each rank compiles a different share,
    so the ranks do not all wait for one kernel after another.
    """
    for part in (*STEP, *SUM)[rank::ranks]:
        part()
