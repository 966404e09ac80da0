"""Prunable weights, sparsities and masks: against published schedules and by hand."""

import numpy as np
import pytest

from fedmpi import sparsity
from fedmpi.errors import ConfigError
from fedmpi.layout import Layer, Layout, Tensor
from fedmpi.units import narrowed
from tests.models import TINY, WEIGHTS

LENET = [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]
ALEXNET = [(64, 3, 3, 3), (192, 64, 3, 3), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3),
           (4096, 1024), (4096, 4096), (10, 4096)]  # fmt: skip

# A convolution with a bias and a running mean, then a linear layer that reads 2x1 pixels of it.
CHAIN = Layout(
    tensors=(
        Tensor("c.weight", (3, 1, 2, 1), 0, 0, 3, True),
        Tensor("c.bias", (3,), 0, 6, 3, True),
        Tensor("c.mean", (3,), 0, 9, 3, False),
        Tensor("f.weight", (2, 6), 1, 12, 2, True),
        Tensor("f.bias", (2,), 1, 24, 2, True),
    ),
    layers=(Layer("c", "conv", 3, 12), Layer("f", "linear", 2, 12)),
)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (0.90, [0.5, 0.6084, 0.7312, 0.85, 0.8938]),
        (0.95, [0.5, 0.6220, 0.7602, 0.8937, 0.9430]),
        (0.99, [0.5, 0.6328, 0.7833, 0.9287, 0.9823]),
    ],
)
def test_the_cubic_schedule_is_that_of_feddip(end, expected):
    found = [sparsity.cubic(t, 1000, 0.5, end) for t in (0, 100, 250, 500, 750)]
    np.testing.assert_allclose(found, expected, atol=5e-5)
    mean = np.mean([sparsity.cubic(t, 1000, 0.5, end) for t in range(1000)])
    assert mean == pytest.approx(end - (end - 0.5) / 4, abs=1e-3)


@pytest.mark.parametrize(
    ("shapes", "density", "expected"),
    [
        (LENET, 0.5, [1.0, 0.5246, 0.4262, 0.7963, 1.0]),
        (LENET, 0.1, [0.8035, 0.0945, 0.0768, 0.1435, 0.7934]),
        (LENET, 0.05, [0.4018, 0.0473, 0.0384, 0.0717, 0.3967]),
        (ALEXNET, 0.5, [1.0, 1.0, 0.6686, 0.5566, 0.6694, 0.9305, 0.3722, 1.0]),
        (ALEXNET, 0.1, [1.0, 0.3531, 0.1307, 0.1088, 0.1309, 0.182, 0.0728, 1.0]),
    ],
)
def test_erk_densities_are_the_published_ones(shapes, density, expected):
    found = sparsity.erk(shapes, density)
    np.testing.assert_allclose(found, expected, atol=5.1e-5)
    sizes = [np.prod(shape) for shape in shapes]
    assert np.dot(found, sizes) == pytest.approx(density * np.sum(sizes))


def test_erk_of_the_whole_is_the_whole_and_power_0_is_even():
    assert sparsity.erk(LENET, 1.0).tolist() == [1.0] * 5
    np.testing.assert_allclose(sparsity.erk(LENET, 0.3, power=0.0), 0.3)


def test_the_largest_are_found_and_ties_go_to_the_first():
    values = np.array([1, -3, 2, 3, -2, 0], np.float32)
    assert sparsity.largest(values, 3).tolist() == [0, 1, 1, 1, 0, 0]
    assert sparsity.largest(values, 0).sum() == 0
    assert sparsity.largest(values, 6).sum() == 6
    assert sparsity.largest(np.zeros(4), 2).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.99])
def test_a_global_mask_has_the_exact_number_of_zeros(share, rng):
    tensors = sparsity.prunable(TINY)
    assert tensors == (0, 2)
    mask = sparsity.mask_of_largest(TINY, rng.standard_normal(TINY.size), tensors, share)
    inside = sparsity.coordinates(TINY, tensors)
    assert inside.sum() == 12 and (mask[inside] == 0).sum() == round(share * 12)
    assert mask[~inside].all()


def test_a_global_mask_ranks_all_tensors_together():
    mask = sparsity.mask_of_largest(TINY, WEIGHTS, (0, 2), 0.5)
    order = np.argsort(np.abs(WEIGHTS[[*range(6), *range(8, 14)]]), kind="stable")
    dropped = np.array([*range(6), *range(8, 14)])[order[:6]]
    assert np.flatnonzero(mask == 0).tolist() == sorted(dropped.tolist())


def test_random_masks_have_the_density_of_each_tensor(rng):
    mask = sparsity.random_mask(TINY, (0, 2), [0.5, 1 / 3], rng)
    assert mask[:6].sum() == 3 and mask[8:14].sum() == 2
    assert mask[6:8].all() and mask[14:].all()


def test_readjusting_replaces_the_smallest_by_those_of_the_largest_gradient():
    mask = np.ones(TINY.size, np.uint8)
    mask[[0, 1]] = 0
    weights = np.zeros(TINY.size, np.float32)
    weights[2:6] = [4, -1, 2, 3]
    weights[8:14] = 1
    grad = np.zeros(TINY.size, np.float32)
    grad[:6] = [1, -2, 9, 9, 9, 9]
    new = sparsity.readjusted(TINY, (0, 2), mask, weights, grad, 0.25)
    assert np.flatnonzero(new != mask).tolist() == [1, 3] and new[1] == 1
    whole = np.ones(TINY.size, np.uint8)
    assert sparsity.readjusted(TINY, (0, 2), whole, weights, grad, 0.5).all()


def flags(*kept):
    """Return a mask of TINY that keeps the given entries of tensor 0, 0 to 5, and of tensor 2."""
    mask = np.ones(TINY.size, np.uint8)
    mask[:6] = mask[8:14] = 0
    mask[list(kept)] = 1
    return mask


def test_the_number_to_grow_is_shared_out_by_the_mean_magnitude_of_the_kept_weights():
    """Two of each tensor are pruned; the means are 3 and 1, and all three places are taken."""
    weights, grad = np.zeros((2, TINY.size), np.float32)
    weights[2:5], weights[8:12] = [3, -2, 4], [1, -0.5, 1.5, 1]
    grad[12:14] = 1, -2
    mask = flags(2, 3, 4, 8, 9, 10, 11)
    new = sparsity.readjusted(TINY, (0, 2), mask, weights, grad, 0.5, reallocate=True)
    np.testing.assert_array_equal(new, flags(0, 1, 5, 4, 8, 10, 13))
    new = sparsity.readjusted(TINY, (0, 2), mask, weights, grad, 0.5)
    np.testing.assert_array_equal(new, flags(0, 1, 4, 8, 10, 12, 13))


@pytest.mark.parametrize(
    ("portions", "kept"),
    [((0.5, 0.5), (2, 3, 4)), ((0.5, 0), (2, 4, 5)), ((0, 1), (0, 3, 4)), ((0, 0), (0, 4, 5))],
)
def test_signs_that_disagree_are_pruned_first_and_those_that_agree_are_grown(portions, kept):
    """Entry 0 has the largest weight, and entry 3 the smallest gradient."""
    weights, grad, agrees = np.zeros((3, TINY.size), np.float32)
    weights[:3], grad[3:6], agrees[:6] = [5, 1, 2], [0.1, 3, -2], [-1, 1, 0, 1, -1, 0]
    mask = flags(0, 1, 2)
    how = {"agrees": agrees, "portions": portions}
    new = sparsity.readjusted(TINY, (0,), mask, weights, grad, 2 / 3, **how)
    np.testing.assert_array_equal(new, flags(*kept))
    agrees[:6] = -1, -1, 1, 1, 1, 0  # too few others, so one of the two is pruned, one grown
    how["portions"] = 0, 0
    new = sparsity.readjusted(TINY, (0,), mask, weights, grad, 2 / 3, **how)
    np.testing.assert_array_equal(new, flags(0, 4, 5))


@pytest.mark.parametrize(
    ("total", "portions", "room", "expected"),
    [
        (5, [1, 1, 0.5], [9, 9, 9], [2, 2, 1]),
        (4, [5, 3, 2], [9, 9, 9], [2, 1, 1]),  # 0.8 is the largest fraction
        (6, [1, 1, 1], [1, 9, 9], [1, 3, 2]),  # of equal fractions the first
        (7, [8, 1, 1], [2, 1, 9], [2, 1, 4]),  # the second is full after the first
        (3, [2, 1, 0], [9, 9, 9], [2, 1, 0]),
        (3, [0, 0], [2, 2], [2, 1]),
        (3, [1, 0, 0], [1, 5, 5], [1, 1, 1]),
        (9, [1, 2], [2, 3], [2, 3]),
        (0, [1, 2], [2, 3], [0, 0]),
    ],
)
def test_a_number_is_shared_out_in_proportion_as_far_as_there_is_room(
    total, portions, room, expected
):
    found = sparsity.shared_out(total, np.array(portions, float), np.array(room))
    assert found.tolist() == expected and found.dtype == np.int64


def test_biases_norms_and_pointwise_shortcuts_are_not_prunable():
    shapes = {"a.weight": (2, 2, 1, 1), "b.weight": (2, 2, 1, 1), "b.bias": (2,),
              "c.shortcut.weight": (2, 2, 1, 1), "d.weight": (2, 2), "e.weight": (2, 2)}
    kinds = ["conv", "conv", "conv", "conv", "linear", "norm"]
    starts = np.cumsum([0] + [int(np.prod(shape)) for shape in shapes.values()]).tolist()
    tensors = tuple(Tensor(name, shape, n, starts[n], 2, True)
                    for n, (name, shape) in enumerate(shapes.items()))
    layout = Layout(tensors, tuple(Layer(str(n), kind, 2, 8, shortcut=n == 1)
                                   for n, kind in enumerate(kinds)))
    assert sparsity.prunable(layout) == (0, 3, 4) and sparsity.convolutions(layout) == (0, 3)


def test_a_grid_goes_down_from_the_most_and_a_power_keeps_the_sign():
    np.testing.assert_allclose(sparsity.grid(0.22, 0.4), [0.25, 0.3, 0.35, 0.4])
    np.testing.assert_allclose(sparsity.grid(0.3, 0.4), [0.3, 0.35, 0.4])
    found = sparsity.power(np.array([-4, 9, 0], np.float32), 0.5)
    assert found.tolist() == [-2, 3, 0] and found.dtype == np.float32


def test_each_tensor_keeps_its_largest_of_those_that_are_held():
    held = np.ones(20, np.uint8)
    held[[0, 1, 8]] = 0
    values = np.arange(20, 0, -1, dtype=np.float32)
    mask = sparsity.largest_of_each(TINY, values, {0: 2, 2: 3}, held)
    assert np.flatnonzero(mask[:6]).tolist() == [2, 3]
    assert np.flatnonzero(mask[8:14]).tolist() == [1, 2, 3]
    assert mask[6:8].all() and mask[14:].all()
    assert sparsity.counts_of(TINY, (0, 2), mask) == {0: 2, 2: 3}
    fewer = sparsity.smaller(TINY, (0, 2), mask, values, 0.5)
    assert sparsity.counts_of(TINY, (0, 2), fewer) == {0: 1, 2: 1} and (fewer <= mask).all()


def test_the_cosine_falls_from_alpha_to_0_and_stays_there():
    found = [sparsity.cosine(0.4, t, 100) for t in (0, 50, 100, 150)]
    np.testing.assert_allclose(found, [0.4, 0.2, 0, 0], atol=1e-15)


def test_a_narrowed_chain_loses_rows_and_what_reads_them():
    keep = [np.array([True, False, True]), np.ones(2, bool)]
    mask = narrowed(CHAIN, keep)
    assert mask[:12].tolist() == [1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 0, 1]
    assert mask[12:].tolist() == [1, 1, 0, 0, 1, 1] * 2 + [1, 1]


def test_layers_that_are_no_chain_are_refused():
    bad = Layout(
        tensors=(
            Tensor("a.weight", (2, 3), 0, 0, 2, True),
            Tensor("b.weight", (2, 3), 1, 6, 2, True),
        ),
        layers=(Layer("a", "linear", 2, 6), Layer("b", "linear", 2, 6)),
    )
    with pytest.raises(ConfigError, match="plain chain"):
        narrowed(bad, [np.ones(2, bool)] * 2)


@pytest.mark.parametrize("groups", [2, 4])
def test_a_grouped_convolution_does_not_read_all_channels_and_cannot_be_narrowed(groups):
    shape = (8, 4 // groups, 3, 3)
    bad = Layout(
        tensors=(Tensor("a.weight", (4, 1, 3, 3), 0, 0, 4, True),
                 Tensor("b.weight", shape, 1, 36, 8, True)),
        layers=(Layer("a", "conv", 4, 36), Layer("b", "conv", 8, 72)),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="layer b does not read the layer before it alone"):
        narrowed(bad, [np.array([False, True, True, True]), np.ones(8, bool)])


def test_a_layer_whose_weight_is_shared_or_frozen_cannot_be_narrowed():
    bad = Layout(
        tensors=(Tensor("a.weight", (2, 2), 0, 0, 2, True), Tensor("b.bias", (2,), 1, 4, 2, True)),
        layers=(Layer("a", "linear", 2, 4), Layer("b", "linear", 2, 4)),
    )
    with pytest.raises(ConfigError, match="weight of layer b is frozen or shared"):
        narrowed(bad, [np.ones(2, bool)] * 2)


def test_a_norm_over_other_rows_than_those_before_it_cannot_be_narrowed():
    bad = Layout(
        (Tensor("a.weight", (4, 3), 0, 0, 4, True), Tensor("b.weight", (2,), 1, 12, 2, True)),
        (Layer("a", "linear", 4, 12), Layer("b", "norm", 2, 2)),
    )
    with pytest.raises(ConfigError, match="layer b does not read the layer before it alone"):
        narrowed(bad, [np.ones(4, bool), np.ones(2, bool)])


def test_tokens_of_an_embedding_cannot_be_left_out():
    """The weights fit by chance: six numbers for each of twelve tokens, and as many tokens."""
    table = Layout(
        (Tensor("e.weight", (12, 6), 0, 0, 12, True), Tensor("b.weight", (9, 72), 1, 72, 9, True)),
        (Layer("e", "embedding", 12, 0), Layer("b", "linear", 9, 648)),
    )
    assert narrowed(table, [np.ones(12, bool), np.arange(9) < 4]).sum() == 72 + 4 * 72
    with pytest.raises(ConfigError, match="rows of layer e, an embedding, are tokens"):
        narrowed(table, [np.arange(12) < 6, np.ones(9, bool)])


def test_a_masked_weight_is_a_zero_with_its_sign():
    found = sparsity.masked(np.array([-2, 3, -4], np.float32), np.array([0, 0, 1], np.uint8))
    assert found.dtype == np.float32 and found.tolist() == [0, 0, -4]
    assert np.signbit(found).tolist() == [True, False, True]
