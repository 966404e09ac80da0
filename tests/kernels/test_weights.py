"""Weights of few classes against their naive twin."""

import numpy as np
import pytest

from fedmpi.kernels import weights
from tests.naive import weights as naive


@pytest.mark.parametrize("classes", [0, 1, 3, 256, 257])
def test_weights_are_numbered_as_their_naive_twin_does(rng, classes):
    distinct = rng.integers(-(2**62), 2**62, classes)
    given = np.concatenate((distinct, rng.choice(distinct, 500 if classes else 0)))
    tables, codes = np.zeros((2, 256), np.int64), np.zeros((2, given.size), np.uint8)
    got = weights.classify(given, tables[0], codes[0])
    want = naive.classify(given, tables[1], codes[1])
    assert got == want == (classes if classes <= 256 else -1)
    if got > 0:
        np.testing.assert_array_equal(tables[0], tables[1])
        np.testing.assert_array_equal(codes[0], codes[1])


def test_weights_whose_search_begins_at_the_last_place_go_on_at_the_first():
    given = np.array([1, *(1023 + (k << 50) for k in range(5)), 0, 1023, 3 << 50, 1])
    tables, codes = np.zeros((2, 256), np.int64), np.zeros((2, given.size), np.uint8)
    assert weights._hash(np.uint64(given[5])) == weights._SLOTS - 1
    assert weights.classify(given, tables[0], codes[0]) == 8
    assert naive.classify(given, tables[1], codes[1]) == 8
    np.testing.assert_array_equal(tables[0], tables[1])
    np.testing.assert_array_equal(codes[0], codes[1])
