"""Augmented images equal their naive twin, and are the same on any number of ranks."""

from types import SimpleNamespace

import numpy as np
import pytest

from fedmpi.errors import ConfigError
from fedmpi.learn.augment import augmentation_of, lines_of, moved
from fedmpi.record import reader
from fedmpi.rng import rng_for
from tests.naive import augment as naive

CONFIG = """
[run]
rounds = 3
seed = 5
[data]
augment = "crop-flip"
[clients]
number = 6
per_round = 5
batch_size = 16
local_epochs = 2
[optimizer]
lr = 0.05
"""


class Dealt:
    """A generator that returns given numbers, and notes the calls."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def integers(self, low, high, shape):
        self.asked.append((low, high, shape))
        return self.answers.pop(0)


def crop_flip(x, batch, rng):
    """Return the images x[batch], each moved and perhaps mirrored."""
    return moved(x[batch], *lines_of(x.shape[1:], len(batch), rng))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 5, 9)])
def test_crop_flip_equals_its_naive_twin_at_every_place(rng, shape):
    x = rng.standard_normal((7, *shape)).astype(np.float32)
    moves = np.array([(dy, dx) for dy in range(-4, 5) for dx in range(-4, 5)] * 2).T
    mirrored = np.repeat([0, 1], 81)
    batch = rng.integers(0, 7, 162)
    given = Dealt(moves, mirrored)
    got = crop_flip(x, batch, given)
    assert given.asked == [(-4, 5, (2, 162)), (0, 2, 162)]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, naive.crop_flip(x, batch, moves, mirrored))


def test_one_stream_gives_one_batch_and_another_client_another(rng):
    x = rng.standard_normal((20, 1, 8, 8)).astype(np.float32)
    batch = np.arange(20)
    first, same, other = (crop_flip(x, batch, rng_for(1, "augment", 3, c)) for c in (4, 4, 5))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


@pytest.mark.parametrize(("kind", "shape"), [("features", (60,)), ("image", (1, 4, 28))])
def test_data_that_cannot_be_augmented_are_refused(kind, shape):
    data = SimpleNamespace(kind=kind, name="mine", x_train=np.zeros((2, *shape)))
    assert augmentation_of(False, data) is None
    with pytest.raises(ConfigError, match=r"data.augment = 'crop-flip': takes images of 5x5"):
        augmentation_of("crop-flip", data)


def test_augmented_training_gives_the_same_bits_on_any_ranks_and_close_ones_on_both_engines(
    run_fedmpi, tmp_path
):
    (tmp_path / "exp.toml").write_text(CONFIG)

    def weights(name, *words, ranks=None):
        done = run_fedmpi("run", "exp.toml", "-o", name, *words, ranks=ranks)
        assert done.returncode == 0, done.stderr
        with reader.open(tmp_path / name) as run:
            return np.concatenate([w.ravel() for w in run.model().values()])

    one = weights("1.h5")
    np.testing.assert_array_equal(one, weights("3.h5", ranks=3))
    short = ("--set", "run.rounds=1", "--set", "clients.local_epochs=1", "--set")
    plain = weights("plain.h5", *short, "data.augment=false")
    torch, numba = (weights(f"{e}.h5", *short, f"run.trainer={e}") for e in ("torch", "numba"))
    np.testing.assert_allclose(torch, numba, atol=1e-4)
    assert abs(plain - numba).max() > 1e-3
