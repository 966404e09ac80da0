"""Group and layer normalisation against their naive twins."""

import numpy as np
import pytest

from fedmpi.kernels import groups as compiled
from tests.naive import groups as naive

WIDTH, C = 32, 6
CASES = [(96, 1), (96, 2), (96, 6), (32, 1)]  # lanes of a plane, groups


def case(rng, size):
    """Return (memory, weights, planes of src, out, up, down)."""
    memory = (rng.standard_normal(4 * C * size + 16) * 2 + 1).astype(np.float32)
    places = [16 + np.arange(C) * size + k * C * size for k in range(4)]
    return memory, rng.uniform(-2, 2, 2 * C).astype(np.float32), *places


@pytest.mark.parametrize("floor", [float("-inf"), 0.0])
@pytest.mark.parametrize(("size", "groups"), CASES)
def test_normalise_equals_its_twin(rng, size, groups, floor):
    memory, weights, src, out, _, _ = case(rng, size)
    found = []
    for module in (compiled, naive):
        mine, saved = memory.copy(), np.zeros((2, groups, WIDTH), np.float32)
        places = np.arange(C), C + np.arange(C)
        module.normalise(mine, out, src, size, WIDTH, groups, weights, *places, saved, 1e-5, floor)
        found.append((mine, saved))
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("dropped", [(), (1, 4), tuple(range(C))])
@pytest.mark.parametrize(("size", "groups"), CASES)
def test_normalise_back_equals_its_twin(rng, size, groups, dropped, trained, fresh, gated):
    memory, weights, src, out, up, down = case(rng, size)
    memory[out[0] : out[-1] + size : 3] = 0  # a gate of 0 is closed
    places, saved = (np.arange(C), C + np.arange(C)), np.zeros((2, groups, WIDTH), np.float32)
    naive.normalise(
        memory.copy(), out, src, size, WIDTH, groups, weights, *places, saved, 1e-5, 0.0
    )
    kept, wanted = np.ones((2, C), np.uint8)
    kept[list(dropped)] = 0
    wanted[list(dropped[:1])] = 0
    for plane in dropped:
        memory[up[plane] : up[plane] + size] = np.nan  # never read
    gate, found = int(out[0] - down[0]) if gated else 0, []
    for module in (compiled, naive):
        mine, grad = memory.copy(), np.full(2 * C, 9, np.float32)
        module.normalise_back(
            mine, src, up, down, size, WIDTH, groups, weights, grad, *places, saved, kept, wanted,
            trained, fresh, gate,
        )  # fmt: skip
        found.append((mine, grad))
    assert (found[0][1] != 9).sum() == (2 * (C - len(dropped)) if trained else 0)
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=2e-4)


def test_a_sample_with_nan_stays_nan_above_any_floor(rng):
    memory, weights, src, out, _, _ = case(rng, 96)
    memory[src[0] + 5] = np.nan
    saved, places = np.zeros((2, 1, WIDTH), np.float32), (np.arange(C), C + np.arange(C))
    compiled.normalise(memory, out, src, 96, WIDTH, 1, weights, *places, saved, 1e-5, 0.0)
    lost = np.isnan(memory[out[0] : out[-1] + 96].reshape(-1, WIDTH))
    assert lost[:, 5].all() and not np.delete(lost, 5, axis=1).any()


def lanes_of(values):
    """Return float32[.] of positions whose lanes all hold the same."""
    return np.repeat(np.array(values, np.float32), WIDTH)


def test_moments_keep_what_float32_would_lose_beside_a_large_value():
    places, saved = (np.array([0]), np.array([1])), np.zeros((2, 1, WIDTH), np.float32)
    for values, mean, variance in (
        ([2**24, 1, -(2**24)], 1 / 3, 2**49 / 3),
        ([4096, -4096, *[1, -1] * 127], 0, (2**25 + 254) / 256),
    ):
        memory, out = lanes_of([*values, *values]), np.array([WIDTH * len(values)])
        rest = out[0], WIDTH, 1, np.ones(2, np.float32), *places, saved, 0.0, 0.0
        compiled.normalise(memory, out, np.array([0]), *rest)
        np.testing.assert_array_equal(saved[0, 0], np.float32(mean))
        np.testing.assert_allclose(saved[1, 0], 1 / np.sqrt(variance), rtol=2e-7)


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize(
    ("x", "dz"), [([1, 1, 1], [2**24, 1, -(2**24)]), ([4097, 4098, 0], [4097, -4096, 0])]
)
def test_gradients_keep_what_float32_would_lose_beside_a_large_value(x, dz, planes):
    """Sums of dz and of products: 1 and 1, then 1 and 4097^2 - 4096 4098 = 1."""
    memory, size, c = lanes_of([*x, *dz, 0, 0, 0]), 3 * WIDTH // planes, np.arange(planes)
    src = c * size
    saved, grad = np.zeros((2, 1, WIDTH), np.float32), np.zeros(2 * planes, np.float32)
    saved[1] = 1
    compiled.normalise_back(
        memory, src, src + 3 * WIDTH, src + 6 * WIDTH, size, WIDTH, 1, np.ones(2, np.float32),
        grad, 0 * c, 0 * c + 1, saved, np.ones(planes, "u1"), np.ones(planes, "u1"), False, True, 0,
    )  # fmt: skip
    want = np.array(dz) - 1 / 3 - np.array(x) / 3
    np.testing.assert_allclose(memory[6 * WIDTH :: WIDTH], want, rtol=1e-6)
