"""Channel gates against their naive twins, for one sample's lanes, several widths and planes."""

import numpy as np
import pytest

from fedmpi.kernels import channel_gates as compiled
from tests.naive import channel_gates as naive

NONE = float("-inf")
POSITIONS = 75  # more than one block of 64
SHAPES = [(16, 1), (16, 5), (48, 6), (10, 5), (1, 3), (50, 2)]  # lanes, channels


def planes(width, channels, number):
    """Return int64[channels]: the offsets of the planes of value `number`."""
    size = POSITIONS * width
    return 16 + (number * channels + np.arange(channels)) * size


def memory_of(rng, width, channels, values):
    return rng.standard_normal(32 + values * channels * POSITIONS * width).astype(np.float32)


def both(memory, call):
    """Run `call(module, memory)` on two copies of the memory; return them if they are alike."""
    found = [memory.copy(), memory.copy()]
    for module, mine in zip((compiled, naive), found, strict=True):
        call(module, mine)
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)
    assert not np.array_equal(found[0], memory)
    return found


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize(("width", "channels"), SHAPES)
def test_means_equal_their_twin_inside_a_border_too(rng, width, channels, squash):
    memory = memory_of(rng, width, channels, 2)
    src, out = (planes(width, channels, number) for number in range(2))
    whole = np.array([0]), POSITIONS * width
    inside = np.arange(1, 14) * 5 * width + width, 3 * width  # 13 of 15 rows, 3 of 5 columns
    for rows, size in (whole, inside):
        share = width / (len(rows) * size)
        both(memory, lambda module, mine, rows=rows, size=size, share=share: module.means(
            mine, out, src, rows, size, width, share, squash))  # fmt: skip


def test_the_sigmoid_of_huge_means_is_0_or_1(rng):
    memory = np.array([-3e38, -1e3, 0, 1e3, 3e38, np.nan, *np.zeros(26)], np.float32)
    args = np.array([16]), np.array([0]), np.array([0]), 16, 16, 1.0, True
    compiled.means(memory, *args)
    np.testing.assert_array_equal(memory[16:22], [0, 0, 0.5, 1, 1, np.nan])


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize(("width", "channels"), SHAPES)
def test_the_way_back_of_means_equals_its_twin(rng, width, channels, squash, fresh, gated):
    memory = memory_of(rng, width, channels, 4)
    out, up, down, active = (planes(width, channels, number) for number in range(4))
    gate = int(active[0] - down[0]) if gated else 0
    size = POSITIONS * width
    both(memory, lambda module, mine: module.means_back(
        mine, out, up, down, size, width, 0.25, squash, fresh, gate))  # fmt: skip


@pytest.mark.parametrize("kept", [1, 3, 4])
@pytest.mark.parametrize("width", [3, 16, 20, 48])
def test_the_largest_gates_are_kept_and_of_equal_ones_the_first(rng, width, kept):
    places = 16 + np.arange(7) * width
    memory = rng.integers(0, 3, 32 + 7 * width).astype(np.float32)  # few distinct values
    found, want = both(memory, lambda module, mine: module.keep(mine, places, kept, width))
    np.testing.assert_array_equal(found, want)
    assert ((found[16:-16].reshape(7, width) > 0).sum(0) <= kept).all()


def test_all_gates_stay_if_all_are_kept_and_nan_is_never_hidden(rng):
    memory = rng.uniform(1, 2, 64).astype(np.float32)
    places = 16 * np.arange(4)
    for kept in (4, 5):
        mine = memory.copy()
        compiled.keep(mine, places, kept, 16)
        np.testing.assert_array_equal(mine, memory)
    for channel in range(4):
        mine = memory.copy()
        mine[16 * channel] = np.nan
        compiled.keep(mine, places, 1, 16)
        assert np.isnan(mine[16 * channel])


@pytest.mark.parametrize("floor", [NONE, 0.0])
@pytest.mark.parametrize(("width", "channels"), SHAPES)
def test_scale_equals_its_twin(rng, width, channels, floor):
    memory = memory_of(rng, width, channels, 3)
    src, out, gates = (planes(width, channels, number) for number in range(3))
    size = POSITIONS * width
    both(memory, lambda module, mine: module.scale(mine, out, src, gates, size, width, floor))


@pytest.mark.parametrize("flags", ["all", "some"])
@pytest.mark.parametrize(("width", "channels"), SHAPES)
def test_the_way_back_of_scale_equals_its_twin(rng, width, channels, flags):
    memory = memory_of(rng, width, channels, 5)
    up, src, down, gates, slopes = (planes(width, channels, number) for number in range(5))
    memory[gates[0] : gates[0] + width : 3] = 0  # closed
    passed, opened = np.ones((2, channels), np.uint8)
    if flags == "some":
        passed[0], opened[1:] = 0, 0
    size = POSITIONS * width
    found, _ = both(memory, lambda module, mine: module.scale_back(
        mine, up, src, down, gates, slopes, size, width, passed, opened))  # fmt: skip
    if not passed[0]:
        kept = slice(down[0], down[0] + size)
        np.testing.assert_array_equal(found[kept], memory[kept])
