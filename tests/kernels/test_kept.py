"""Sums over kept terms against their naive twins, and bit by bit against the dense kernels."""

import numpy as np
import pytest

from fedmpi.kernels import conv, kept, tables
from tests.kernels.test_conv import NONE, alone, correlate_case, mix_case
from tests.naive import kept as naive

DENSITIES = [0.0, 0.1, 0.5, 1.0]


def mask_of(rng, size, density):
    """Return uint8[size]; any number but 0 keeps."""
    return (rng.random(size) < density).astype(np.uint8) * rng.integers(1, 256, size, np.uint8)


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("lanes", [1, 10, 16, 20, 32, 48, 50, 112, 365, 368])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_mix_equals_its_twin_for_any_rows_lanes_and_masks(rng, rows, lanes, density):
    out, src, weights, parts = mix_case(rng, rows, lanes)
    alone(src, parts[4], parts[6], parts[7])
    want, mask = out.copy(), mask_of(rng, weights.size, density)
    kept.mix(out, src, weights, kept.mix_table(mask, *parts), 1, NONE, 0)
    naive.mix(want, src, weights, mask, parts, 1, NONE, 0)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_tables_equal_their_twins(rng, rows, density):
    _, _, weights, parts = mix_case(rng, rows, 32, channels=3, taps=4)
    taps = np.array([[1, 4], [0, 2], [0, 4], [0, 2], [1, 2], [1, 4]])  # of runs; two come twice
    parts = *parts[:7], np.hstack([rng.integers(0, 99, (6, 3)), taps])
    mask = mask_of(rng, weights.size, density)
    table = kept.mix_table(mask, *parts)
    np.testing.assert_array_equal(table, naive.mix_table(mask, *parts))
    out, _, _, parts = correlate_case(rng, rows, 21)
    parts = *parts[:5], np.concatenate([parts[5], parts[5][:1]])
    mask = mask_of(rng, out.size, density)
    table = kept.correlate_table(mask, *parts)
    np.testing.assert_array_equal(table, naive.correlate_table(mask, *parts))


@pytest.mark.parametrize("lanes", [10, 170, 176])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("floor", [NONE, 0.0])
@pytest.mark.parametrize("start", [0, 1, 2])
def test_mix_has_the_bits_of_the_dense_kernel(rng, start, floor, gated, lanes):
    out, src, weights, parts = mix_case(rng, 6, lanes, channels=5, taps=9)
    out[out.size // 2 :: 3] = 0  # a gate of 0 is closed
    mask = mask_of(rng, weights.size, 0.3)
    mask[parts[2]] = 1  # biases
    weights *= mask != 0
    want, gate = out.copy(), gated * (out.size // 2 + 3)
    kept.mix(out, src, weights, kept.mix_table(mask, *parts), start, floor, gate)
    conv.mix(want, src, weights, tables.mix_table(*parts), start, floor, gate)
    np.testing.assert_array_equal(out.view(np.uint32), want.view(np.uint32))


def test_mix_keeps_nan_above_any_floor(rng):
    out, src, weights, parts = mix_case(rng, 2, 48)
    src[:] = np.nan
    kept.mix(out, src, weights, kept.mix_table(np.ones(weights.size, "u1"), *parts), 0, 0.0, 0)
    assert np.isnan(out[:48]).all()


def test_dropped_weights_are_not_read(rng):
    out, src, weights, parts = mix_case(rng, 3, 32)
    mask = mask_of(rng, weights.size, 0.4)
    want, clean = out.copy(), np.where(mask != 0, weights, 0).astype(np.float32)
    weights[mask == 0] = np.nan
    table = kept.mix_table(mask, *parts)
    kept.mix(out, src, weights, table, 0, NONE, 0)
    kept.mix(want, src, clean, table, 0, NONE, 0)
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("columns", [2, 9, 13, 70])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_correlate_equals_its_twin_and_leaves_other_places_alone(rng, rows, columns, density):
    out, left, right, parts = correlate_case(rng, rows, columns)
    want, mask = out.copy(), mask_of(rng, out.size, density)
    kept.correlate(out, left, right, kept.correlate_table(mask, *parts))
    naive.correlate(want, left, right, mask, parts)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(out[mask == 0], want[mask == 0])


@pytest.mark.parametrize("runs", [None, [[0, 16, 10], [16, 0, 20], [40, 32, 50]]])
def test_correlate_has_the_bits_of_the_dense_kernel(rng, runs):
    out, left, right, parts = correlate_case(rng, 7, 40, runs)
    left, right = (np.append(plane, np.zeros(16, "f4")) for plane in (left, right))
    again = parts[5][:1] + np.array([0, 0, 1, 2])  # more runs for the first part
    parts = *parts[:5], np.concatenate([parts[5], again])
    want, mask = np.zeros_like(out), mask_of(rng, out.size, 0.3)
    kept.correlate(out, left, right, kept.correlate_table(mask, *parts))
    conv.correlate(want, left, right, tables.correlate_table(*parts))
    here = mask != 0
    np.testing.assert_array_equal(out[here].view(np.uint32), want[here].view(np.uint32))
