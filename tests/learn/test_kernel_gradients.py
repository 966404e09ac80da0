"""The fast engine against torch autograd in float64: layers, shapes, batches, rows, statistics."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from fedmpi.learn.fast.chain import Unsupported
from fedmpi.learn.fast.kernel_gradients import KernelGradients
from fedmpi.learn.fast.rule import choose
from fedmpi.learn.fast.serialise import deserialised, serialised
from fedmpi.learn.layout_of import layer_modules, layout_of
from fedmpi.learn.models.parts import Residual, Subsample
from fedmpi.plan import FULL, Backward
from tests.learn.small_networks import MODELS, norm_after_relu, seeded, small_cnn


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors are not worth more."""
    torch.set_num_threads(1)


def engine_of(module, shape, usual=1):
    """Return (engine, layout) of a module for samples of `shape` and batches of `usual` samples."""
    layout = layout_of(module, np.zeros((1, *shape), np.float32))
    return KernelGradients.of(module, layout, shape, usual), layout


def batch_of(shape, count, classes=4, seed=0):
    """Return (x, y)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, *shape)).astype(np.float32)
    return x, rng.integers(0, classes, count)


def reference(module, layout, x, y, backward=FULL):
    """Return (loss, gradient, bool: may move, weights after) by autograd in float64, with hooks."""
    twin = copy.deepcopy(module).double().train()
    rows = backward.rows or (None,) * len(layout.layers)
    for layer, parts in enumerate(layer_modules(twin, layout)):
        if rows[layer] is not None:
            # Before a gate multiplies the output: the gate of a dropped row is trained still.
            masking = _masking(torch.from_numpy(rows[layer]))
            parts[0].register_forward_hook(masking, prepend=True)
    loss = functional.cross_entropy(twin(torch.from_numpy(x).double()), torch.from_numpy(y))
    loss.backward()
    tensors = {**dict(twin.named_parameters()), **dict(twin.named_buffers())}
    old = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    grad, weights = np.zeros((2, layout.size))
    moves = np.zeros(layout.size, bool)
    for tensor in layout.tensors:
        block = slice(tensor.start, tensor.start + tensor.size)
        keep = np.ones(tensor.rows, bool)
        if rows[tensor.layer] is not None and tensor.rows > 1:
            keep = rows[tensor.layer].copy()
        keep &= tensor.layer >= backward.lowest
        keep = np.repeat(keep, tensor.size // tensor.rows)
        new = tensors[tensor.name]
        before = old[tensor.name].detach().reshape(-1).numpy()
        if tensor.trained:
            moves[block] = keep
            grad[block] = new.grad.reshape(-1).numpy() * keep
        weights[block] = np.where(keep, new.detach().reshape(-1).numpy(), before)
    return loss.item(), grad, moves, weights


def _masking(rows):
    def hook(part, inputs, output):
        shape = (1, -1) + (1,) * (output.dim() - 2)  # all that is tried here has its rows there
        output.register_hook(lambda gradient: gradient * rows.view(shape))

    return hook


def check(module, shape, count, backward=FULL, usual=None):
    """The gradient, the loss and the running statistics are those of autograd."""
    engine, layout = engine_of(module, shape, usual or count)
    x, y = batch_of(shape, count)
    loss, grad, moves, weights = reference(module, layout, x, y, backward)
    mine, found = engine.weights.copy(), np.full(layout.size, np.nan, np.float32)
    assert engine.gradient(mine, x, y, found, backward) == pytest.approx(loss, rel=1e-5, abs=1e-5)
    scale = max(abs(grad).max(), 1e-3)
    np.testing.assert_allclose(found, grad, atol=2e-5 * scale, rtol=1e-4)
    np.testing.assert_array_equal(found[~moves], 0)
    np.testing.assert_allclose(mine, weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("count", "usual"), [(2, 2), (3, 3), (10, 10), (7, 10), (20, 20), (17, 20), (21, 1), (50, 50)]
)
@pytest.mark.parametrize("name", MODELS)
def test_gradient_loss_and_statistics_are_those_of_autograd(name, count, usual):
    check(seeded(MODELS[name]), (2, 8, 8), count, usual=usual)


@settings(max_examples=25)
@given(data=st.data())
def test_any_convolution_and_pooling_is_that_of_autograd(data):
    draw = lambda *range_: data.draw(st.integers(*range_))  # noqa: E731
    channels, side, other = draw(1, 3), draw(6, 9), draw(5, 8)
    kernel, stride = (draw(1, 4), draw(1, 3)), (draw(1, 3), draw(1, 3))
    padding = tuple(draw(0, k - 1 + (k == 1)) for k in kernel)
    dilation = (1, draw(1, 2)) if kernel[1] < 3 else (1, 1)
    window = draw(1, 2)
    pool = nn.MaxPool2d(window, draw(1, 3)) if draw(0, 1) else nn.AvgPool2d(window, draw(1, 2))

    def build():
        parts = [
            nn.Conv2d(channels, draw(1, 7), kernel, stride, padding, dilation, bias=draw(0, 1) > 0),
            nn.ReLU(),
        ]
        inner = nn.Conv2d(parts[0].out_channels, draw(1, 7), (1, 2), padding=(draw(0, 1), 1))
        parts += [inner, nn.ReLU(), pool, nn.Flatten()]
        with torch.no_grad():
            size = nn.Sequential(*parts)(torch.zeros(1, channels, side, other)).shape[1]
        return nn.Sequential(*parts, nn.Linear(size, 4))

    check(seeded(build), (channels, side, other), draw(1, 18))


@pytest.mark.parametrize("lowest", [0, 1, 3])
@pytest.mark.parametrize("kept", [0.0, 0.2, 0.6])
@pytest.mark.parametrize("name", MODELS)
def test_dropped_rows_leave_the_backward_pass_and_their_statistics_alone(rng, name, kept, lowest):
    module = seeded(MODELS[name])
    _, layout = engine_of(module, (2, 8, 8))
    rows = tuple(rng.random(layer.rows) < kept for layer in layout.layers[:-1])
    check(module, (2, 8, 8), 6, Backward((*rows, None), min(lowest, len(layout.layers) - 1)))


def norm_of_a_sum():
    """The norm belongs to the layer of the second convolution, and reads its sum with another."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), Residual(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh()),
        nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 4),
    )  # fmt: skip


def added_channels():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), Subsample(2, 4), nn.Conv2d(7, 3, 3), nn.Flatten(),
        nn.Linear(12, 4),
    )  # fmt: skip


@pytest.mark.parametrize("build", [norm_of_a_sum, added_channels])
@pytest.mark.parametrize("kept", [[1, 0, 0], [0, 1, 1], [0, 0, 0]])
def test_dropped_rows_leave_gradients_of_other_channels_alone(build, kept):
    module = seeded(build)
    layers = len(engine_of(module, (2, 8, 8))[1].layers)
    for layer in range(layers - 1):
        rows = [None] * layers
        rows[layer] = np.array(kept, bool)
        check(module, (2, 8, 8), 6, Backward(tuple(rows)))


@pytest.mark.parametrize("name", MODELS)
def test_activations_are_those_of_the_layers_before_relu_and_normalisation(name):
    module = seeded(MODELS[name])
    engine, layout = engine_of(module, (2, 8, 8))
    x, y = batch_of((2, 8, 8), 5)
    found, want = ([np.ones(layer.rows) for layer in layout.layers] for _ in range(2))
    twin = copy.deepcopy(module).double().train()
    for totals, parts in zip(want, layer_modules(twin, layout), strict=True):
        parts[0].register_forward_hook(lambda part, x, out, totals=totals: _count(totals, out))
    twin(torch.from_numpy(x).double())
    grad = np.zeros((2, layout.size), np.float32)
    engine.gradient(engine.weights.copy(), x, y, grad[0], FULL, found)
    engine.gradient(engine.weights.copy(), x, y, grad[1])
    for mine, theirs in zip(found, want, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)
    np.testing.assert_array_equal(grad[0], grad[1])


def _count(totals, out):
    totals += out.detach().abs().sum([k for k in range(out.dim()) if k != 1]).numpy()


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_evaluation_mode(name):
    module = seeded(MODELS[name])
    engine, _ = engine_of(module, (2, 8, 8))
    x, _ = batch_of((2, 8, 8), 41)
    with torch.no_grad():
        want = copy.deepcopy(module).double().eval()(torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(engine.outputs(engine.weights, x), want, rtol=1e-4, atol=1e-5)


def test_weights_and_gradients_of_others_are_read_and_written_as_the_engines_own():
    engine, layout = engine_of(seeded(norm_after_relu), (2, 8, 8))
    x, y = batch_of((2, 8, 8), 8)
    mine, grad = engine.weights.copy(), np.zeros(layout.size, np.float32)
    engine.gradient(mine, x, y, grad)
    np.testing.assert_array_equal(grad, engine.grad)
    np.testing.assert_array_equal(mine, engine.weights)


@pytest.mark.parametrize(
    "part",
    [
        nn.Conv2d(2, 4, 3, groups=2),
        nn.Conv2d(2, 4, 3, padding="same"),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.GELU(),
        nn.ReLU(),
        nn.LayerNorm(8),
        nn.LayerNorm((2, 8, 8), bias=False),
        nn.GroupNorm(2, 2, affine=False),
        nn.GroupNorm(2, 2, bias=False),
        nn.BatchNorm2d(2, bias=False),
        Residual(nn.Conv2d(2, 2, 1), nn.AvgPool2d((1, 8))),  # torch adds what is narrower, too
    ],
)
def test_what_there_are_no_kernels_for_is_refused_and_left_to_torch(part):
    module = nn.Sequential(part, nn.Flatten(), nn.LazyLinear(4))
    module(torch.zeros(1, 2, 8, 8))
    layout = layout_of(module, np.zeros((1, 2, 8, 8), np.float32))
    with pytest.raises(Unsupported):
        KernelGradients.of(module, layout, (2, 8, 8))
    assert choose(module, layout, (2, 8, 8), 32, 16)[0] == "torch"


def test_sizes_are_those_of_torch_in_a_tuple_of_one_and_as_integers_of_numpy():
    two = np.int64(2)
    module = seeded(lambda: nn.Sequential(
        nn.Conv2d(2, 3, two, padding=(1,)), nn.MaxPool2d((2,)), nn.AvgPool2d(two, two, (1,)),
        nn.Flatten(), nn.Linear(27, 4),
    ))  # fmt: skip
    check(module, (2, 8, 8), 5)
    engine, _ = engine_of(module, (2, 8, 8))
    assert deserialised(serialised(engine, engine.weights), 5).layout == engine.layout


def test_rows_of_another_shape_are_refused():
    engine, layout = engine_of(seeded(small_cnn), (2, 8, 8))
    x, y = batch_of((2, 8, 8), 2)
    for rows in ((None,), (np.ones(3, bool), *(None,) * (len(layout.layers) - 1))):
        with pytest.raises(ValueError, match="rows"):
            engine.gradient(engine.weights, x, y, engine.grad, Backward(rows))
