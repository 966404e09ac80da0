"""Run each kernel of the training engine once, on tiny arrays, so that no round waits for it."""

import numpy as np

from fedmpi.kernels import (
    activation,
    batch_last,
    channel_gates,
    conv,
    first_step,
    groups,
    kept,
    loss,
    norm,
    owner,
    pool,
    tables,
    update,
)
from fedmpi.kernels.first_step import NONE, PLACES, RUNS


def warm(rank: int = 0, ranks: int = 1) -> None:
    """Compile or load a rank's share of the kernels of a training step, for the engine's types.

    `rank` is the number of the rank among the `ranks` ranks of its node. A single rank takes about
    20 seconds if nothing is cached, and less than one second if everything is.
    """
    layers = _warm_row_sums, _warm_kept, _warm_pool, _warm_norm, _warm_groups, _warm_others
    for part in (*first_step.STEP, *layers, _warm_gates, _warm_losses, _warm_adam)[rank::ranks]:
        part()


def warm_sums(rank: int = 0, ranks: int = 1) -> None:
    """Compile or load a rank's share of the kernels of an exact sum over a node's ranks."""
    for part in (*first_step.SUM, _warm_dense)[rank::ranks]:
        part()


def _warm_dense() -> None:
    total, marks, rows = np.zeros(64, np.int64), np.zeros(64, np.uint8), np.zeros((1, 64), np.int64)
    owner.dense(total, rows[0], marks, 0, 64, rows, rows, np.zeros((1, 8), np.uint64))


def _warm_adam() -> None:
    flat, moments = np.zeros(64, np.float32), np.zeros((2, 64), np.float32)
    mask = np.ones(64, np.uint8)
    update.adam(flat, flat, *moments, flat, mask, np.float32(0.1), 0.0, 0.0, 1)


def _warm_losses() -> None:
    memory = np.zeros(64, np.float32)
    loss.of_class(memory, 0, 16, 1, 16, PLACES, True, True)
    loss.of_numbers(memory, 0, 16, 1, 16, np.zeros((1, 1), np.float32), True)


def _warm_row_sums() -> None:
    flat = np.zeros(64, np.float32)
    conv.row_sums(flat, PLACES, flat, PLACES, 16)


def _warm_kept() -> None:
    memory, flat = np.zeros(4096, np.float32), np.zeros(64, np.float32)
    mask = np.zeros(flat.size, np.uint8)
    kept.mix(memory, memory, flat, kept.mix_table(mask, *[PLACES] * 7, RUNS), 0, NONE, 0)
    columns = tables.padded(PLACES), tables.padded(PLACES, -1)
    parts = (PLACES, PLACES, *columns, np.array([[0, 0, 16]]), np.array([[0, 1, 0, 1]]))
    kept.correlate(flat, memory, memory, kept.correlate_table(mask, *parts))


def _warm_pool() -> None:
    memory, places = np.zeros(4096, np.float32), PLACES
    pool.largest(memory, places, places, places, RUNS, NONE)
    pool.largest_back(memory, places, places, places, places, places, RUNS, NONE, True)
    pool.mean(memory, places, places, places, RUNS, 1.0, NONE)
    pool.mean_back(memory, places, places, places, RUNS, 1.0, 0)


def _warm_norm() -> None:
    memory, flat, places = np.zeros(4096, np.float32), np.zeros(64, np.float32), PLACES
    mask, saved = np.ones(256, np.float32), np.ones((2, 1), np.float32)
    planes, scales = (places, places), (flat, places, places)
    norm.normalise(memory, *planes, 16, mask, *scales, saved, 1e-5, NONE)
    norm.apply(memory, *planes, 16, *scales, places, places, 1e-5, NONE)
    norm.normalise_back(
        memory, places, *planes, 16, mask, flat, *scales, saved, places, 1e-5, True, True, 0
    )
    norm.track(flat, places, places, saved, places, mask, 16, 0.1)


def _warm_groups() -> None:
    memory, flat, places = np.zeros(4096, np.float32), np.zeros(64, np.float32), PLACES
    saved, flags = np.ones((2, 1, 16), np.float32), np.ones(1, np.uint8)
    planes, scales = (places, places), (flat, places, places)
    groups.normalise(memory, *planes, 16, 16, 1, *scales, saved, 1e-5, NONE)
    groups.normalise_back(
        memory, places, *planes, 16, 16, 1, flat, *scales, saved, flags, flags, True, True, 0
    )


def _warm_gates() -> None:
    memory, places, flags = np.zeros(4096, np.float32), PLACES, np.ones(1, np.uint8)
    channel_gates.means(memory, places, places, places, 16, 16, 1.0, False)
    channel_gates.means_back(memory, places, places, places, 16, 16, 1.0, False, True, 0)
    channel_gates.keep(memory, np.arange(2) * 16, 1, 16)
    channel_gates.scale(memory, places, places, places, 16, 16, NONE)
    channel_gates.scale_back(memory, *[places] * 5, 16, 16, flags, flags)


def _warm_others() -> None:
    memory, mask = np.zeros(4096, np.float32), np.ones(256, np.float32)
    batch_last.turn_weights(memory, 0, np.zeros(64, np.float32), PLACES, PLACES, 1)
    batch_last.measure(np.zeros(1), memory, PLACES, 16, mask, NONE)
    batch_last.add(memory, 32, 0, 16, 16, NONE)
    batch_last.pass_on(memory, 0, 16, 16, True, 0)
    activation.activate(memory, PLACES, PLACES, 16, True, NONE)
    activation.activate_back(memory, PLACES, PLACES, PLACES, 16, True, True, 0)
