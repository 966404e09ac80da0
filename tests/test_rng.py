"""Streams are addressed by their purpose, and never overlap."""

import itertools

import numpy as np
import pytest

from fedmpi.rng import rng_for, uniforms_for


def test_the_same_address_gives_the_same_numbers():
    first = rng_for(3, "batches", 5, 7).random(100)
    rng_for(3, "batches", 5, 8).random(1000)  # asking for another stream in between changes nothing
    np.testing.assert_array_equal(rng_for(3, "batches", 5, 7).random(100), first)


def test_every_part_of_the_address_counts():
    addresses = itertools.product((0, 1, 2**40), ("a", "b"), (0, 1), (0, 1))
    heads = {rng_for(*address).bytes(16) for address in addresses}
    assert len(heads) == 3 * 2 * 2 * 2


def test_numbers_are_pinned():
    """A change of the generator would silently change every published result."""
    numbers = rng_for(1, "cohort", 2, 3).integers(0, 2**32, 3)
    assert numbers.tolist() == [1825641219, 2359565379, 2291489225]


@pytest.mark.parametrize("client", [0, 2**63])
def test_streams_of_neighbours_are_uncorrelated(client):
    here = rng_for(0, "x", 0, client).random(20_000)
    there = rng_for(0, "x", 0, client + 1).random(20_000)
    assert abs(np.corrcoef(here, there)[0, 1]) < 0.03


def test_a_client_is_drawn_alone_as_among_others():
    clients = np.array([5, 0, 10**9])
    found = uniforms_for(3, "dropout", 4, clients)
    for client, drawn in zip(clients.tolist(), found, strict=True):
        np.testing.assert_array_equal(drawn, rng_for(3, "dropout", 4, client).random(4))
        np.testing.assert_array_equal(drawn, uniforms_for(3, "dropout", 4, client))
