"""Operation counts against closed forms and published tables."""

from dataclasses import replace

import numpy as np
import pytest

from fedmpi import flops
from fedmpi.layout import Layer, Layout, Support, Tensor
from fedmpi.plan import Backward, Plan

SHAPES = [(6, 3, 3, 3), (10, 6, 3, 3), (5, 40)]  # conv, conv, linear
MACS = [6 * 27 * 64, 10 * 54 * 16, 200]


def small():
    layers = tuple(
        Layer(f"layer{n}", "conv" if len(shape) == 4 else "linear", shape[0], macs)
        for n, (shape, macs) in enumerate(zip(SHAPES, MACS, strict=True))
    )
    starts = np.cumsum([0] + [int(np.prod(shape)) for shape in SHAPES])
    tensors = tuple(
        Tensor(f"layer{n}.weight", shape, n, int(starts[n]), shape[0], True)
        for n, shape in enumerate(SHAPES)
    )
    return Layout(tensors, layers)


def test_dense_training_is_three_forward_passes_less_the_first_input_gradient():
    found = flops.count(small(), samples=7)
    expected = 14.0 * np.repeat(np.array(MACS)[:, None], 3, axis=1)
    expected[0, flops.INPUT_GRADIENT] = 0
    assert np.array_equal(found, expected)
    assert np.array_equal(flops.forward(small(), samples=7), expected[:, flops.FORWARD])


def test_dropped_rows_scale_both_gradients_and_not_the_forward_pass():
    rows = (np.arange(6) < 2, np.arange(10) < 1, None)
    dense, found = flops.count(small()), flops.count(small(), Backward(rows))
    assert np.array_equal(found[:, flops.FORWARD], dense[:, flops.FORWARD])
    for column in (flops.WEIGHT_GRADIENT, flops.INPUT_GRADIENT):
        np.testing.assert_allclose(found[:, column], dense[:, column] * [2 / 6, 1 / 10, 1])


def test_below_the_lowest_trained_layer_only_the_forward_pass_is_left():
    dense, found = flops.count(small()), flops.count(small(), Backward(lowest=1))
    assert np.array_equal(found[:, 0], dense[:, 0])
    assert np.array_equal(found[:, 1], [0, dense[1, 1], dense[2, 1]])
    assert np.array_equal(found[:, 2], [0, 0, dense[2, 2]])


def test_the_gradient_that_readjusts_a_mask_is_dense_in_the_first_step_alone():
    of = small()
    mask = np.arange(of.size) % 2 == 0
    whole, how = Support.all(of), {"mask": mask.astype(np.uint8), "update": mask.astype(np.uint8)}
    still = flops.of_plan(of, Plan(whole, whole, **how), 10, first=4)
    moves = flops.of_plan(of, Plan(whole, whole, readjust=((1, 0.1),), **how), 10, first=4)
    assert still.tolist() == [[10 * m, 10 * m, 10 * m * (m != MACS[0])] for m in MACS]
    extra = [[0, 4 * m, 0] for m in MACS]  # the other half of 2 * m * 4 samples
    np.testing.assert_allclose(moves - still, extra)
    every = Plan(whole, whole, readjust=((1, 0.1), (2, 0.1), (3, 0.1)), **how)
    looks = flops.of_plan(of, every, 10, first=4)  # steps of 4, 4 and 2 samples
    np.testing.assert_allclose(looks - still, [[0, 10 * m, 0] for m in MACS])
    given = replace(every, grow=np.ones(of.size, np.float32))  # no gradient ranks the entries
    np.testing.assert_array_equal(flops.of_plan(of, given, 10, first=4), still)
    assert not flops.of_plan(of, every, 0, first=4).any()
    probed = flops.of_plan(of, Plan(whole, whole, **how), 10, probed=4, first=4)
    extra = [[4 * m, 8 * m, 4 * m * (m != MACS[0])] for m in MACS]  # with all the gradient
    np.testing.assert_allclose(probed - still, extra)
    gated = flops.of_plan(of, Plan(whole, whole, gates=np.full(3, 0.5), **how), 10, 4, 4)
    np.testing.assert_allclose(gated, 0.5 * probed)


@pytest.mark.parametrize(
    ("lowest", "macs"),
    [(0, [[113, 100, 6], [232, 200, 187]]), (1, [[113, 0, 0], [232, 200, 47]])],
)
def test_work_without_trained_weights_is_counted_for_every_sample(lowest, macs):
    """Of the second layer, 50 come from the samples, and 30 from the layer itself."""
    tensors = [Tensor(name, (2, 2), n, 4 * n, 2, True) for n, name in enumerate("ab")]
    first = Layer("a", "linear", 2, 100, frozen=10, products=3, from_data=40)
    second = Layer("b", "linear", 2, 200, frozen=20, products=5, from_data=50, from_itself=30)
    of = Layout(tuple(tensors), (first, second), tail=7)
    found = flops.count(of, Backward(lowest=lowest), samples=5)
    np.testing.assert_array_equal(found, 10 * np.array(macs))
    assert flops.thop(of).tolist() == [100, 200]  # nothing is normalised


def test_a_dense_pass_for_running_statistics_costs_nothing_where_there_are_none():
    of, whole = small(), Support.all(small())
    running = Tensor("layer2.running_mean", (5,), 2, of.size, 5, False)
    with_them = Layout((*of.tensors, running), of.layers)
    for layout, more in ((of, 0), (with_them, 1)):
        told = {"mask": np.ones(layout.size, np.uint8), "gates": np.full(3, 0.5)}
        plain, dense = (
            flops.of_plan(layout, Plan(whole, whole, dense_norm=norm, **told), 10)
            for norm in (False, True)
        )
        np.testing.assert_array_equal(dense - plain, [[10 * m * more, 0, 0] for m in MACS])


@pytest.mark.parametrize("density", [0.05, 0.5, 1.0])
def test_pruned_training_costs_two_densities_and_one_of_three(density):
    found = flops.count(small(), density=np.full(3, density))[1:]
    dense = flops.count(small())[1:]
    assert found.sum() / dense.sum() == pytest.approx((2 * density + 1) / 3)


def test_a_gate_ratio_acts_squared_in_a_chain():
    dense, gated = flops.count(small()), flops.count(small(), gate=[0.7, 0.7**2, 1.0])
    np.testing.assert_allclose(gated / np.maximum(dense, 1), (dense > 0) * [[0.7], [0.49], [1.0]])


def test_an_inference_takes_the_weights_that_are_kept_behind_open_gates():
    of, gate = small(), [0.5, 0.25, 1.0]
    half = (np.arange(of.size) % 2 == 0).astype(np.uint8)
    open_ = float(np.dot(gate, MACS))
    found = flops.inference(of), flops.inference(of, half), flops.inference(of, half, gate)
    assert found == (2 * sum(MACS), sum(MACS), open_)


def layout(name, options=None):
    torch = pytest.importorskip("torch")
    from fedmpi.learn.layout_of import layout_of
    from fedmpi.learn.models import build

    module = build(name, (3, 32, 32), 10, options or {}, seed=0)
    return layout_of(module, torch.zeros(1, 3, 32, 32))


def skeleton(of, ratio):
    """Rows of FedSkel at one kept ratio: all convolutions; which rows does not matter."""
    kept = [layer.rows - int((1 - ratio) * layer.rows + 1e-9) for layer in of.layers]
    return Backward(
        tuple(
            np.arange(layer.rows) < count if layer.kind == "conv" else None
            for layer, count in zip(of.layers, kept, strict=True)
        )
    )


def test_speed_up_of_resnet18_under_fedskel():
    # The closed form has exact ratios, so every layer gets ten rows here.
    of = layout("resnet18")
    of = Layout(of.tensors, tuple(replace(layer, rows=10) for layer in of.layers))
    dense = flops.count(of).sum()
    found = [dense / flops.count(of, skeleton(of, r)).sum() for r in (0.1, 0.2, 0.3, 0.4, 0.5)]
    assert [round(ratio, 2) for ratio in found] == [2.50, 2.14, 1.87, 1.67, 1.50]


def test_convolution_gradients_shrink_exactly_with_the_kept_rows():
    of = layout("resnet18")
    plan = skeleton(of, 0.5)
    dense, found = flops.count(of), flops.count(of, plan)
    convs = [layer.kind == "conv" for layer in of.layers]
    assert found[convs, 1:].sum() == 0.5 * dense[convs, 1:].sum()
    assert np.array_equal(found[~np.array(convs)], dense[~np.array(convs)])


@pytest.mark.parametrize(
    ("level", "millions"), [(1, 11.634), (2, 15.894), (3, 25.396), (4, 29.886), (5, 39.356)]
)
def test_fedlp_levels_as_thop_counts_them(level, millions):
    assert flops.thop(layout("fedlp-cnn", {"level": level})).sum() / 1e6 == pytest.approx(
        millions, abs=5e-4
    )
