"""Shared uplinks beside their twin, and by hand."""

from itertools import pairwise

import numpy as np
import pytest

from fedmpi.kernels import uplink
from fedmpi.rng import rng_for
from tests.naive import uplink as naive


def ends(*arguments, of=uplink):
    found = np.zeros(len(arguments[1]))
    of.fair_ends(found, *arguments)
    return found


def test_two_flows_by_hand():
    # From 0 to 1 s the first alone at its cap 4; then both, 3 each of 6, till the second ends.
    start, bits, cap = np.array([0.0, 1.0]), np.array([10.0, 6.0]), np.array([4.0, 5.0])
    assert ends(np.array([0, 2]), start, bits, cap, 6.0).tolist() == [3.0, 3.0]
    assert ends(np.array([0, 2]), start, bits, cap, 100.0).tolist() == [2.5, 2.2]
    # The slow link leaves a rest to the fast link: 1 and 5 of 6.
    assert ends(np.array([0, 2]), 0 * start, bits, np.array([1.0, 9.0]), 6.0).tolist() == [10, 1.2]
    assert ends(np.array([0, 1, 2]), start, bits, cap, 6.0).tolist() == [2.5, 2.2]


@pytest.mark.parametrize("capacity", [0.5, 3.0, 20.0])
def test_equals_its_twin_and_uses_what_there_is(rng, capacity):
    first = np.array([0, 1, 1, 20, 45])
    start, bits = rng.random(45) * 5, rng.random(45) * 8
    bits[::7] = 0
    start[3:9] = start[3]
    cap = np.concatenate([np.sort(rng.random(b - a) + 0.1) for a, b in pairwise(first)])
    found = ends(first, start, bits, cap, capacity)
    np.testing.assert_allclose(found, ends(first, start, bits, cap, capacity, of=naive), rtol=1e-9)
    assert (found >= start + bits / np.minimum(cap, capacity) - 1e-9).all()
    for a, b in pairwise(first):
        if b > a:
            assert found[a:b].max() - start[a:b].min() >= bits[a:b].sum() / capacity - 1e-9


def test_a_flow_that_rounding_leaves_without_bits_ends():
    """Of 4,000 flows that end as another begins, rounding puts about 4 % an instant later."""
    rng = rng_for(3, "uplink")
    cap, begin = rng.uniform(1e5, 1e7, 4000), rng.uniform(1, 100, 4000)
    late = cap * begin / cap > begin
    assert late.sum() > 100
    cap, begin = cap[late], begin[late]
    first, flows = np.arange(0, 2 * cap.size + 1, 2), (cap.size, 2)
    start = np.stack((0 * begin, begin), 1).ravel()
    bits = np.stack((cap * begin, 0 * begin + 1e6), 1).ravel()
    caps = np.stack((cap, 0 * cap + 2e7), 1).ravel()
    found = ends(first, start, bits, caps, 1e9).reshape(flows)
    np.testing.assert_allclose(found, np.stack((begin, begin + 0.05), 1), rtol=1e-14)
