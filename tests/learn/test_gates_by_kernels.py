"""Channel gates of the kernels engine beside those of torch: networks, ties, rows, other hooks."""

import numpy as np
import pytest
import torch
from torch import nn

from fedmpi.learn.fast.chain import Unsupported, chain_of
from fedmpi.learn.fast.kernel_gradients import KernelGradients
from fedmpi.learn.fast.rule import choose
from fedmpi.learn.gates import gated
from fedmpi.learn.layout_of import layout_of
from fedmpi.learn.models import build
from fedmpi.learn.torch_gradients import TorchGradients
from fedmpi.plan import FULL, Backward, Gates
from tests.algorithms.problem import TRAINER, experiment
from tests.learn.small_networks import MODELS, residual, seeded, small_cnn

SHAPES = {"lenet5": (1, 28, 28), "fedlp-cnn": (3, 32, 32)}
NETWORKS = ["lenet5", "fedlp-cnn", "resnet20", "vgg11"]


def both(module, shape):
    """Return (KernelGradients, TorchGradients) of a module, and its layout."""
    layout = layout_of(module, np.zeros((1, *shape), np.float32))
    return (KernelGradients.of(module, layout, shape), TorchGradients(module, layout)), layout


def batch_of(shape, count, classes=4):
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, *shape), np.float32), rng.integers(0, classes, count)


def gradients_of(pair, layout, x, y, backward=FULL):
    """Return the gradient of both engines, float32[2, P]."""
    found = np.zeros((2, layout.size), np.float32)
    for one, grad in zip(pair, found, strict=True):
        one.gradient(one.weights.copy(), x, y, grad, backward)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_fedmpi_have_kernels_for_their_gates_and_the_rule_takes_them(name):
    shape = SHAPES.get(name, (3, 32, 32))
    module = gated(build(name, shape, 10, {}, 1), Gates(0.6), 1)
    layout = layout_of(module, np.zeros((1, *shape), np.float32))
    values, steps = chain_of(module, layout, shape)
    assert values[0].halo == steps[0].halo  # the gate of the first convolution reads inside of it
    gates = [layer.name for layer in layout.layers if layer.name.endswith(".gate")]
    assert sum(type(step).__name__ == "Opened" for step in steps) == len(gates) > 1
    for width in (8, 16):
        assert choose(module, layout, shape, 16, width)[0] == "kernels"


@pytest.mark.parametrize("name", ["lenet5", *(["resnet20"] if TRAINER != "torch" else [])])
def test_gradients_of_a_gated_network_are_those_of_torch(name):
    shape = (SHAPES.get(name, (3, 32, 32))[0], 16, 16)
    module = gated(build(name, shape, 10, {}, 1), Gates(0.6, squash=True), 1)
    pair, layout = both(module, shape)
    ours, theirs = gradients_of(pair, layout, *batch_of(shape, 9, 10))
    gates = [t.block for t in layout.tensors if ".gate." in t.name]
    assert all(theirs[block].any() for block in gates)
    np.testing.assert_allclose(ours, theirs, atol=2e-5 * abs(theirs).max())


@pytest.mark.parametrize("kept", [0.2, 0.6, 1.0])
def test_of_equal_gates_both_engines_keep_those_of_the_first_channels(kept):
    conv = nn.Conv2d(2, 40, 3)
    module = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    gated(module, Gates(kept), 1)
    with torch.no_grad():
        conv.gate.weight.zero_()
        conv.gate.bias[::3] = 0.5
    pair, _ = both(module, (2, 6, 6))
    x, _ = batch_of((2, 6, 6), 19)
    ours, theirs = (one.outputs(one.weights, x) for one in pair)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    order = np.argsort(np.arange(40) % 3 == 0, kind="stable")  # gates of 1 before those of 0.5
    opened = order[: round(kept * 40)]
    np.testing.assert_array_equal(np.flatnonzero((ours != 0).all(0)), np.sort(opened))


@pytest.mark.parametrize("lowest", [0, 1, 2, 3])
@pytest.mark.parametrize("build", [small_cnn, residual])
def test_dropped_rows_of_convolutions_and_of_gates_are_those_of_torch(rng, build, lowest):
    """A gate is trained although the row of its convolution is dropped, and the other way round."""
    pair, layout = both(seeded(lambda: gated(build(), Gates(0.7), 1)), (2, 8, 8))
    rows = tuple(rng.random(layer.rows) < 0.6 for layer in layout.layers[:-1])
    backward = Backward((*rows, None), lowest)
    ours, theirs = gradients_of(pair, layout, *batch_of((2, 8, 8), 6), backward)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_activations_of_a_gated_network_are_those_of_torch():
    pair, layout = both(seeded(MODELS["gated"]), (2, 8, 8))
    found = []
    for one in pair:
        found.append([np.zeros(layer.rows) for layer in layout.layers])
        grad = np.zeros(layout.size, np.float32)
        one.gradient(one.weights.copy(), *batch_of((2, 8, 8), 6), grad, activations=found[-1])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("attach", [
    lambda part: part.register_forward_hook(lambda *given: None),
    lambda part: part.register_forward_pre_hook(lambda *given: None),
    lambda part: part.gate.register_forward_hook(lambda *given: None),
    lambda part: part.gate.weight.register_hook(lambda gradient: gradient),
])  # fmt: skip
def test_other_hooks_beside_gates_are_left_to_torch(attach):
    module = seeded(MODELS["gated"])
    layout = layout_of(module, np.zeros((1, 2, 8, 8), np.float32))
    chain_of(module, layout, (2, 8, 8))
    attach(module[3])
    with pytest.raises(Unsupported, match="hooks of 3"):
        chain_of(module, layout, (2, 8, 8))


@pytest.mark.skipif(TRAINER == "torch", reason="NUMBA_DISABLE_JIT=1: torch trains")
def test_a_run_of_adp_v1_trains_by_kernels_unless_it_asks_for_torch():
    made = experiment("adp-v1", ratio=0.5)
    assert made.engine.name == "kernels"
    assert experiment("adp-v1", ("run.engine=torch",), ratio=0.5).engine.name == "torch"
