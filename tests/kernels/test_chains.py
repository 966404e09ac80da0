"""Markov chains beside a list of all their events."""

import numpy as np
import pytest

from fedmpi.kernels import chains
from fedmpi.rng import rng_for, round_keys
from tests.naive import chains as naive

# Up to ten events in a block, whose words are in three blocks of the generator.
BELOW = np.array([0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.85, 0.95, 1.0])


@pytest.mark.parametrize(("comes_s", "goes_s"), [(3.0, 3.0), (20.0, 2.0), (1.0, 30.0)])
def test_changes_are_those_of_the_list_of_events(comes_s, goes_s):
    names, seen = ("comes", "goes"), set()
    for now in (0.0, 4.9, 1e6 + 0.3):
        found, wanted = ((np.zeros(8, np.bool_), np.zeros(8)) for _ in range(2))
        keys = [round_keys(9, name) for name in names]
        streams = [lambda *place, name=name: rng_for(9, name, *place) for name in names]
        chains.changes(*found, *keys, comes_s, goes_s, BELOW, now)
        naive.changes(*wanted, *streams, comes_s, goes_s, BELOW, now)
        np.testing.assert_array_equal(found, wanted)
        seen |= set(found[0].tolist())
    assert seen == {True, False} or comes_s != goes_s
