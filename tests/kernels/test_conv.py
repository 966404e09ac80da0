"""Sums over taps against their naive twins, on tables with rows, lanes and taps of all counts."""

import numpy as np
import pytest

from fedmpi.kernels import conv, tables
from tests.naive import conv as naive

NONE = float("-inf")


def mix_case(rng, rows, lanes, channels=2, taps=3):
    """Return (out, src, weights, parts) with planes that do not overlap."""
    runs = np.array([[0, 16, lanes, 0, taps], [lanes + 3, 0, lanes, 1, taps]])
    plane = 2 * lanes + 8
    parts = (
        np.arange(rows) * plane,
        np.arange(rows) * channels * taps,
        rng.integers(0, 40, rows),
        np.arange(channels) * taps,
        np.arange(channels) * (lanes + 64),
        np.arange(taps),
        rng.permutation(taps) * 8,
        runs,
    )
    out = rng.standard_normal(2 * rows * plane + 64).astype(np.float32)
    src = rng.standard_normal(channels * (lanes + 64) + 64).astype(np.float32)
    weights = rng.standard_normal(rows * channels * taps + 40).astype(np.float32)
    return out, src, weights, parts


def alone(src, channel_src, tap_src, runs):
    """Write NaN to what no run reads."""
    used = np.zeros(src.size, bool)
    for _, at, size, t0, t1 in runs:
        for place in (channel_src[:, None] + tap_src[t0:t1]).reshape(-1):
            used[place + at : place + at + size] = True
    src[~used] = np.nan


@pytest.mark.parametrize("lanes", [1, 3, 10, 16, 20, 32, 50, 63, 112])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 5, 6, 7, 10])
def test_mix_equals_its_twin_for_any_rows_and_lanes(rng, rows, lanes):
    out, src, weights, parts = mix_case(rng, rows, lanes)
    alone(src, parts[4], parts[6], parts[7])
    want = out.copy()
    conv.mix(out, src, weights, tables.mix_table(*parts), 1, NONE, 0)
    naive.mix(want, src, weights, parts, 1, NONE, 0)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lanes", [10, 170, 176])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("floor", [NONE, 0.0])
@pytest.mark.parametrize("start", [0, 1, 2])
def test_mix_starts_cuts_and_gates_as_its_twin(rng, start, floor, gated, lanes):
    out, src, weights, parts = mix_case(rng, 4, lanes)
    out[out.size // 2 :: 3] = 0  # a gate of 0 is closed
    want, gate = out.copy(), gated * (out.size // 2 + 3)
    conv.mix(out, src, weights, tables.mix_table(*parts), start, floor, gate)
    naive.mix(want, src, weights, parts, start, floor, gate)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lanes", [13, 16])
def test_mix_of_more_terms_than_go_at_once_starts_cuts_and_gates_once(rng, lanes):
    out, src, weights, parts = mix_case(rng, 2, 16, channels=4, taps=9)
    taps = rng.integers(0, 6, 900)
    runs = np.array([[0, 16, lanes, 0, 5], [lanes + 3, 0, lanes, 3, 900]])
    parts = (*parts[:5], taps, taps * 8, runs)
    want, gate = out.copy(), out.size // 2 + 3
    conv.mix(out, src, weights, tables.mix_table(*parts), 1, 0.0, gate)
    naive.mix(want, src, weights, parts, 1, 0.0, gate)
    np.testing.assert_allclose(out, want, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("samples", [1, 5, 16])
def test_mix_samples_is_its_twin_again_and_again(rng, samples):
    """5,000 lanes are cut into several runs; the table has served another batch before.

    The gradient ends with the last run, so nothing behind it is read or written.
    """
    lanes, width = 5000, 16
    gradients, pitch = width * lanes + np.arange(3) * width, lanes
    parts = (
        np.arange(3) * lanes, gradients, gradients, np.zeros(1, np.int64), np.zeros(1, np.int64),
        np.arange(width), np.arange(width) * pitch, np.array([(0, 0, lanes, 0, width)]),
    )  # fmt: skip
    src = rng.standard_normal(width * lanes + 3 * width).astype(np.float32)
    table, out, want = tables.mix_table(*parts), *np.full((2, 3 * lanes), 7, np.float32)
    conv.mix_samples(out, src, table, np.array([9]))
    conv.mix_samples(out, src, table, np.array([samples]))
    naive.mix_samples(want, src, parts, [samples])
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-5)


def test_mix_keeps_nan_above_any_floor(rng):
    out, src, weights, parts = mix_case(rng, 2, 16)
    src[:] = np.nan
    conv.mix(out, src, weights, tables.mix_table(*parts), 0, 0.0, 0)
    assert np.isnan(out[:16]).all()


def correlate_case(rng, rows, columns, runs=None):
    """Return (out, left, right, parts): two parts, the second with two runs."""
    runs = np.array([[0, 16, 48], [16, 0, 16], [64, 32, 32]] if runs is None else runs)
    cut = columns // 2
    order = rng.permutation(rows * columns).reshape(rows, columns)
    spare = tables.SPARE
    right = np.concatenate([np.arange(cut), np.full(spare, 0), np.arange(cut, columns)]) * 96
    right = np.concatenate([right, np.full(spare, right[-1])])
    col_out = np.concatenate([np.arange(cut), np.full(spare, -1), np.arange(cut, columns)])
    col_out = np.concatenate([col_out, np.full(spare, -1)])
    blocks = np.array([[0, cut, 0, 1], [cut + spare, columns + spare, 1, 3]])
    parts = np.arange(rows) * 96, np.arange(rows) * columns, right, col_out, runs, blocks
    out = order.astype(np.float32).reshape(-1)
    left, right = (rng.standard_normal(96 * n).astype(np.float32) for n in (rows, columns))
    return out, left, right, parts


@pytest.mark.parametrize("columns", [2, 9, 13])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 7, 8])
def test_correlate_equals_its_twin_for_any_rows_and_columns(rng, rows, columns):
    out, left, right, parts = correlate_case(rng, rows, columns)
    want = out.copy()
    conv.correlate(out, left, right, tables.correlate_table(*parts))
    naive.correlate(want, left, right, parts)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size", [1, 3, 10, 15, 17, 20, 50])
@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_correlate_of_any_lanes_equals_its_twin_beside_nan(rng, rows, size):
    runs = [[0, 16, size], [16, 0, size], [40, 32, size]]
    out, left, right, parts = correlate_case(rng, rows, 13, runs)
    want = out.copy()
    naive.correlate(want, left, right, parts)
    for plane, column in ((left, 0), (right, 1)):
        used = np.zeros(96, bool)
        for run in runs:
            used[run[column] : run[column] + size] = True
        plane.reshape(-1, 96)[:, ~used] = np.nan
    room = np.full(16, np.nan, np.float32)  # whole vectors are read
    conv.correlate(out, np.append(left, room), np.append(right, room),
                   tables.correlate_table(*parts))  # fmt: skip
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-4)


def test_correlate_without_rows_changes_nothing(rng):
    out, left, right, parts = correlate_case(rng, 2, 3)
    none = np.zeros(0, np.int64)
    want = out.copy()
    conv.correlate(out, left, right, tables.correlate_table(none, none, *parts[2:]))
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("size", [1, 3, 10, 16, 20, 128, 130, 304, 950])
def test_row_sums_equals_its_twin(rng, size):
    src, out = np.full(2 * size + 16, np.nan, np.float32), np.ones(5, np.float32)
    src[: 2 * size] = rng.standard_normal(2 * size)
    want, planes, places = out.copy(), np.array([size, 0]), np.array([4, 2])
    conv.row_sums(out, places, src, planes, size)
    naive.row_sums(want, places, src, planes, size)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-5)
