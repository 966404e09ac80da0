"""The streams of clients beside numpy's generators, word by word."""

import numpy as np
import pytest

from fedmpi.kernels import philox
from fedmpi.kernels._counter import block
from fedmpi.rng import rng_for, round_keys
from tests.naive import philox as naive

SEED, ROUND = 2**64 - 3, 2**40 + 7


@pytest.mark.parametrize("number", [0, 1, 6])
def test_the_words_of_a_block(number):
    address = np.uint64(number), np.uint64(ROUND), np.uint64(12)
    words = block(round_keys(SEED, "any"), *address)
    stream = rng_for(SEED, "any", ROUND, 12).bit_generator
    assert list(words) == stream.random_raw(4 * number + 4)[-4:].tolist()


def test_the_first_numbers_of_many_clients():
    clients = np.array([5, 0, 10**9, 2**62])
    found, wanted = np.zeros((4, 4)), np.zeros((4, 4))
    philox.uniforms(found, round_keys(SEED, "any"), np.uint64(ROUND), clients)
    naive.uniforms(wanted, lambda *place: rng_for(SEED, "any", *place), ROUND, clients)
    np.testing.assert_array_equal(found, wanted)
