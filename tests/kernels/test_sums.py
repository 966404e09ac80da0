"""Exact and fast sums against their naive twins, and the promise that order does not matter."""

import numpy as np
import pytest

from fedmpi.kernels import sums
from tests.naive import sums as naive

STARTS = {
    "one unit": lambda n: np.array([0, n]),
    "units": lambda n: np.unique(np.array([0, n // 3, n // 2, n])),
    "coordinates": lambda n: np.arange(n + 1),
}


def case(size, units, seed=1):
    rng = np.random.default_rng(seed)
    starts = STARTS[units](size).astype(np.int64)
    keep = (rng.random(starts.size - 1) < 0.6).astype(np.uint8)
    values = (rng.standard_normal(size) * 10.0 ** rng.integers(-9, 3, size)).astype(np.float32)
    return starts, keep, values


@pytest.mark.parametrize("units", STARTS)
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 200])
def test_add_exact_and_mean_equal_their_twins(size, units):
    starts, keep, values = case(size, units)
    got, want = np.zeros((2, size), np.int64)
    for share in (0.3, 0.05):
        sums.add_exact(got, starts, keep, values, share)
        naive.add_exact(want, starts, keep, values, share)
    np.testing.assert_array_equal(got, want)
    cover = keep.astype(np.int64) * round(0.35 * sums.SCALE)
    out, expected = np.empty((2, size), np.float32)
    sums.mean(out, values, got, cover, starts)
    naive.mean(expected, values, want, cover, starts)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("units", ["one unit", "coordinates"])
def test_add_exact_rounds_to_the_nearest_unit_and_halves_to_the_even_one(units):
    """From a quarter of a unit up to 2**62 of them, where int64 has more digits than float64."""
    whole = [1, 2, 3, 2**22 + 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32 + 1]
    near = [sign * (n + part) for sign in (1, -1) for n in whole for part in (0, 0.25, 0.5, 0.75)]
    large = [sign * (2.0**k - 2.0 ** (k - 24)) for sign in (1, -1) for k in range(20, 63)]
    scaled = np.array([0.0, -0.0, 0.5, -0.5, 1e-300, *near, *large])
    values = np.float32(scaled / sums.SCALE)  # rounds some of `near`, so that they have 24 bits
    starts = STARTS[units](values.size).astype(np.int64)
    keep = np.ones(starts.size - 1, np.uint8)
    for share in (1.0, 0.5, 1 / 3, 1 - 2**-53):
        got, want = np.zeros((2, values.size), np.int64)
        sums.add_exact(got, starts, keep, values, share)
        naive.add_exact(want, starts, keep, values, share)
        np.testing.assert_array_equal(got, want)


def test_values_that_are_not_kept_do_not_matter():
    values = np.array([np.nan, 1.0, np.inf, 3e38], np.float32)
    keep = np.array([0, 1, 0, 0], np.uint8)
    for add, dtype in ((sums.add_exact, np.int64), (sums.add_fast, np.float32)):
        total = np.full(4, 7, dtype)
        add(total, np.arange(5), keep, values, 0.5)
        assert total.tolist() == [7, 7 + (2**43 if dtype is np.int64 else 0.5), 7, 7]


@pytest.mark.parametrize("units", STARTS)
def test_add_fast_equals_its_twin(units):
    starts, keep, values = case(100, units)
    got, want = np.zeros((2, 100), np.float32)
    for share in (0.3, 0.05):
        sums.add_fast(got, starts, keep, values, share)
        naive.add_fast(want, starts, keep, values, share)
    np.testing.assert_array_equal(got, want)


def test_exact_sums_do_not_depend_on_the_order_and_fast_ones_do():
    rng = np.random.default_rng(0)
    clients = (rng.standard_normal((50, 300)) * 10.0 ** rng.integers(-4, 4, (50, 1))).astype("f4")
    starts, keep = np.array([0, 300]), np.ones(1, np.uint8)
    results = {"exact": set(), "fast": set()}
    for _ in range(5):
        exact, fast = np.zeros(300, np.int64), np.zeros(300, np.float32)
        for client in rng.permutation(50):
            sums.add_exact(exact, starts, keep, clients[client], 0.02)
            sums.add_fast(fast, starts, keep, clients[client], 0.02)
        results["exact"].add(exact.tobytes())
        results["fast"].add(fast.tobytes())
    assert len(results["exact"]) == 1
    assert len(results["fast"]) > 1


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-9])
def test_an_exact_sum_is_off_by_half_a_unit_for_each_client_at_most(size):
    rng = np.random.default_rng(4)
    clients = (size * rng.standard_normal((1000, 50))).astype(np.float32)
    shares = rng.random(1000)
    shares /= shares.sum()
    total, starts, keep = np.zeros(50, np.int64), np.array([0, 50]), np.ones(1, np.uint8)
    for values, share in zip(clients, shares, strict=True):
        sums.add_exact(total, starts, keep, values, share)
    error = np.abs(total / sums.SCALE - shares @ clients.astype(float)).max()
    assert 0 < error <= 1000 / 2 / sums.SCALE


@pytest.mark.parametrize(
    "values",
    [[], [0.0], [-0.0, 3.5, -7.25], [1e-45, -2e-45], [np.inf, 1], [1, np.nan], [3e38, -3.1e38],
     [np.finfo(np.float32).max]],
)
@pytest.mark.parametrize("kept", [1, 0])
def test_largest_kept_equals_its_twin(values, kept):
    values = np.array([*values, np.nan], np.float32)  # the last one is never read
    starts = np.arange(values.size + 1)
    keep = np.array([kept] * (values.size - 1) + [0], np.uint8)
    assert sums.largest_kept(starts, keep, values) == naive.largest_kept(starts, keep, values)
    blocks, keep = np.array([0, values.size - 1, values.size]), np.array([kept, 0], np.uint8)
    assert sums.largest_kept(blocks, keep, values) == naive.largest_kept(blocks, keep, values)


@pytest.mark.parametrize("units", STARTS)
def test_the_mean_with_old_values_equals_its_twin(units):
    starts, keep, values = case(200, units)
    old = values[::-1].copy()
    total, share = np.zeros(200, np.int64), 0.3
    sums.add_exact(total, starts, keep, values, share)
    cover, every = keep * np.int64(round(share * sums.SCALE)), 0.8 * sums.SCALE
    got, want = np.empty((2, 200), np.float32)
    sums.mean_with_old(got, old, total, cover, starts, every)
    naive.mean_with_old(want, old, total, cover, starts, every)
    np.testing.assert_array_equal(got, want)
    at = np.repeat(keep, np.diff(starts)) != 0
    np.testing.assert_allclose(got[at], (0.3 * values + 0.5 * old)[at] / 0.8, rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(got[~at], old[~at])


@pytest.mark.parametrize("units", STARTS)
def test_values_at_the_border_and_ties_are_added_as_the_twin_adds_them(units):
    """Next to 2**18, -0.0, subnormal, and halves of a unit, which go to the even number."""
    top, unit = np.nextafter(np.float32(2**18), np.float32(0)), 2.0**-44
    values = np.array([top, -top, -0.0, 1e-45, -1e-45, *unit * np.arange(-2.5, 4)], np.float32)
    starts = STARTS[units](values.size).astype(np.int64)
    keep, (got, want) = np.ones(starts.size - 1, np.uint8), np.zeros((2, values.size), np.int64)
    sums.add_exact(got, starts, keep, values, 1.0)
    naive.add_exact(want, starts, keep, values, 1.0)
    np.testing.assert_array_equal(got, want)
    assert got.tolist() == [2**62 - 2**38, 2**38 - 2**62, 0, 0, 0, -2, -2, 0, 0, 2, 2, 4]


@pytest.mark.parametrize("name", ["mean", "mean_with_old"])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("kind", [np.int64, np.float32])
@pytest.mark.parametrize("units", STARTS)
@pytest.mark.parametrize("size", [0, 1, 9, 33])
def test_means_of_both_kinds_of_sums_equal_their_twins(size, units, kind, in_place, name):
    """Also where the smallest weight is behind a unit, and bit by bit where there is none."""
    starts, keep, total = case(size, units)
    scale = 1.0 if kind is np.float32 else sums.SCALE
    total, cover = (scale * total).astype(kind), (scale * 0.3 * keep).astype(kind)
    cover[::3] = np.minimum(cover[::3], 1)
    old = np.resize(np.array([-0.0, np.nan, 1e-45, np.inf, -2.5], np.float32), size)
    got, want = (old.copy(), old.copy()) if in_place else np.full((2, size), 7, np.float32)
    rest = (total, cover, starts, 0.8 * scale)[: 4 if name == "mean_with_old" else 3]
    getattr(sums, name)(got, got if in_place else old, *rest)
    getattr(naive, name)(want, want if in_place else old, *rest)
    alone = np.repeat(cover, np.diff(starts)) == 0
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(got[alone].view(np.uint32), old[alone].view(np.uint32))
