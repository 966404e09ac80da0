"""Tables number by number, against their naive twins."""

import numpy as np
import pytest

from fedmpi.kernels import tables
from tests.naive import tables as naive


def draw(rng, *shape):
    """Return int64[shape]."""
    return rng.integers(0, 1000, shape)


@pytest.mark.parametrize("rows", [0, 1, 7])
@pytest.mark.parametrize("taps", [1, 25, 1000])
def test_mix_table_equals_its_twin(rng, rows, taps):
    runs = draw(rng, 3, 5)
    runs[:, 3:] = [[0, 1], [0, taps], [taps // 2, taps]]
    parts = *draw(rng, 3, rows), *draw(rng, 2, 4), *draw(rng, 2, taps)
    for _ in range(3):  # each run comes last once, and so does that with most taps
        runs = np.roll(runs, 1, axis=0)
        table = tables.mix_table(*parts, runs)
        np.testing.assert_array_equal(table, naive.mix_table(*parts, runs))
    runs[:, 3:] = 0  # nothing but biases
    table = tables.mix_table(*parts, runs)
    np.testing.assert_array_equal(table, naive.mix_table(*parts, runs))


@pytest.mark.parametrize("size", [16, 127, 128, 143, 144, 145, 271, 272, 1000])
def test_long_runs_are_cut_as_the_twin_cuts_them(rng, size):
    """With 1,000 planes, pieces are of 128 lanes, and the last of 16 to 143."""
    runs = np.array([[3, 5000, size, 0, 1000], [7000, 20, 16, 1, 2], [40, 60, size, 4, 9]])
    parts = *draw(rng, 3, 2), *draw(rng, 2, 1), *draw(rng, 2, 1000), runs
    table = tables.mix_table(*parts)
    np.testing.assert_array_equal(table, naive.mix_table(*parts))
    pieces = table[table[12] :].reshape(-1, 5)
    assert table[4] == 128 and len(pieces) == table[2]
    assert pieces[:, 2].sum() == 2 * size + 16 and pieces[:, 2].min() >= 16


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_correlate_table_equals_its_twin(rng, rows):
    parts = *draw(rng, 2, rows), *draw(rng, 2, 19), draw(rng, 4, 3), draw(rng, 2, 4)
    np.testing.assert_array_equal(tables.correlate_table(*parts), naive.correlate_table(*parts))


def test_padding_repeats_the_last_place_or_what_is_given():
    assert tables.padded(np.array([4, 5, 7])).tolist() == [4, 5] + [7] * 9
    assert tables.padded(np.array([4, 7]), -1).tolist() == [4, 7] + [-1] * 8
    assert tables.padded(np.zeros(0, np.int64)).tolist() == []
