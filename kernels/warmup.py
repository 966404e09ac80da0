"""Every kernel of the training engine once, on next to nothing, so that no round waits for one."""

import numpy as np

from fedmpi.kernels import (
    batch_last,
    conv,
    groups,
    kept,
    loss,
    merge,
    norm,
    owner,
    pack,
    pool,
    tables,
    update,
)


def warm():
    """Compile or load the kernels of a training step, for the types that the engine calls with.

    Takes about 10 seconds where nothing is cached, and under one where everything is.
    """
    memory = np.zeros(4096, np.float32)
    flat = np.zeros(64, np.float32)
    places, runs = np.zeros(1, np.int64), np.array([[0, 0, 16, 0, 1]])
    mask, saved = np.ones(16, np.float32), np.ones((2, 1), np.float32)
    none = float("-inf")
    _warm_conv(memory, flat, places, runs, none)
    _warm_pool(memory, places, runs, none)
    planes = places, places
    scales = flat, places, places
    norm.normalise(memory, *planes, 16, mask, *scales, saved, 1e-5, none)
    norm.apply(memory, *planes, 16, *scales, places, places, 1e-5, none)
    norm.normalise_back(
        memory, places, *planes, 16, mask, flat, *scales, saved, places, 1e-5, True, True, 0
    )
    norm.track(flat, places, places, saved, places, mask, 16, 0.1)
    saved, flags = np.ones((2, 1, 16), np.float32), np.ones(1, np.uint8)
    groups.normalise(memory, *planes, 16, 16, 1, *scales, saved, 1e-5, none)
    groups.normalise_back(
        memory, places, *planes, 16, 16, 1, flat, *scales, saved, flags, flags, True, True, 0
    )
    batch_last.enter(memory, places, np.zeros((1, 1), np.float32), places, 16)
    batch_last.transpose(memory, 1024, 0, 16, 16, 16)
    batch_last.turn_weights(memory, 0, flat, places, places, 1)
    batch_last.measure(np.zeros(1), memory, places, 16, mask, none)
    batch_last.clear(memory, places, 16)
    batch_last.add(memory, 32, 0, 16, 16, none)
    batch_last.pass_on(memory, 0, 16, 16, True, 0)
    loss.cross_entropy(memory, 0, 16, 1, 16, places)
    _warm_update(flat)


def warm_sums():
    """Compile or load the kernels that add up exact sums of the ranks of a node."""
    total, one, marks = np.zeros(64, np.int64), np.zeros((1, 1), np.int64), np.zeros(64, np.uint8)
    rows, bounds = np.zeros((1, 64), np.int64), np.zeros(2, np.int64)
    flat, units = np.zeros(0, np.int64), np.array([0, 64])
    for starts, count in ((flat, 64), (units, 1)):
        merge.clear(total, rows[0, :count], marks[:count], starts)
        merge.copy(total, marks[:count], starts, total)
        merge.loads(marks[:count], starts, 64, 1, one[0])
    merge.cut(one, 64, 64, np.ones(1, np.int64), bounds)
    owner.dense(total, rows[0], marks, 0, 64, rows, rows, np.zeros((1, 8), np.uint64))
    seen = np.zeros((1, 1), np.uint8)
    owner.blocks(total, one[0], marks[:1], units, 0, 64, rows, one, seen, seen[0])


def _warm_conv(memory, flat, places, runs, none):
    parts = (places, places, places, places, places, places, places, runs)
    conv.mix(memory, memory, flat, tables.mix_table(*parts), 0, none, 0)
    columns = tables.padded(places), tables.padded(places, -1)
    parts = (places, places, *columns, np.array([[0, 0, 16]]), np.array([[0, 1, 0, 1]]))
    conv.correlate(flat, memory, memory, tables.correlate_table(*parts))
    conv.row_sums(flat, places, memory, places, 16)
    _warm_kept(memory, flat, places, runs, none)


def _warm_kept(memory, flat, places, runs, none):
    mask = np.zeros(flat.size, np.uint8)
    parts = (places, places, places, places, places, places, places, runs)
    kept.mix(memory, memory, flat, kept.mix_table(mask, *parts), 0, none, 0)
    columns = tables.padded(places), tables.padded(places, -1)
    parts = (places, places, *columns, np.array([[0, 0, 16]]), np.array([[0, 1, 0, 1]]))
    kept.correlate(flat, memory, memory, kept.correlate_table(mask, *parts))


def _warm_pool(memory, places, runs, none):
    pool.largest(memory, places, places, places, runs, none)
    pool.largest_back(memory, places, places, places, places, places, runs, none, True)
    pool.mean(memory, places, places, places, runs, 1.0, none)
    pool.mean_back(memory, places, places, places, runs, 1.0, 0)


def _warm_update(flat):
    moments, mask, rate = np.zeros((2, flat.size), np.float32), np.ones(flat.size, np.uint8), 0.1
    small = np.float32(0)
    lr = np.float32(rate)
    edges = np.zeros(2 * pack.count(mask)[1], np.uint32)
    pack.edges(mask, edges)
    update.sgd(flat, flat, moments[0], flat, mask, edges, lr, rate, small, small)
    update.adam(flat, flat, *moments, flat, mask, lr, small, small, 1)
