"""The only source of randomness: one independent stream for each purpose, round and client."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Integers, Reals

_64_BITS = (1 << 64) - 1


def rng_for(seed: int, purpose: str, round: int = 0, client: int = 0) -> np.random.Generator:
    """Return the random stream of one purpose in one round for one client.

    The same four values give the same numbers on every rank, in every order of calls and after
    every resume. The reason is that the stream is a counter-based generator (Philox, Salmon et
    al., SC 2011), which is addressed by these values and not advanced from call to call.

    Parameters
    ----------
    seed : int
        The run's seed, 0 to 2**64 - 1.
    purpose : str
        The use of the numbers, for example "cohort" or "batches".
    round, client : int
        Round and client to which the numbers belong, from 0; 0 if there is none.

    Returns
    -------
    numpy.random.Generator
        A fresh generator. Streams are disjoint: each has 2**128 blocks of its own.
    """
    # Philox counts up in the low words, so round and client are in the high words.
    key = np.array(_key(seed, purpose), np.uint64)
    counter = np.array([0, 0, round, client], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def uniforms_for(seed: int, purpose: str, round: int, clients: Integers | int) -> Reals:
    """Return `rng_for(seed, purpose, round, client).random(4)` for each client, float64[n, 4].

    `clients` is int64[n], or a single client, for which the result is float64[4].
    """
    each = np.atleast_1d(np.asarray(clients, np.int64))
    found = np.empty((len(each), 4))
    kernels.philox.uniforms(found, round_keys(seed, purpose), np.uint64(round), each)
    return found.reshape(*np.shape(clients), 4)


def round_keys(seed: int, purpose: str) -> AnyArray:
    """Return the round keys that kernels need for the streams of a purpose, uint64[10, 2]."""
    found: AnyArray = kernels.philox.round_keys(*_key(seed, purpose))
    return found


def _key(seed: int, purpose: str) -> tuple[int, int]:
    """Return the two words of a generator's key."""
    word = int.from_bytes(blake2b(purpose.encode(), digest_size=8).digest(), "little")
    return seed & _64_BITS, word


@contextmanager
def seeded_generators(seed: int) -> Iterator[None]:
    """Seed the global generators of numpy and Python while users' code runs in this block.

    Their states are restored afterwards. `seed` is 0 to 2**32 - 1.
    """
    ours, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)  # noqa: NPY002
