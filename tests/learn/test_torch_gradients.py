"""The torch engine against plain autograd, with rows dropped by masking the dense gradient."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fedmpi.learn.layout_of import layer_modules, layout_of
from fedmpi.learn.models import build
from fedmpi.learn.models.parts import Residual
from fedmpi.learn.torch_gradients import TorchGradients
from fedmpi.plan import Backward


@pytest.fixture(autouse=True)
def one_thread():
    """The reference must round as the engine does, which sets torch to one thread."""
    torch.set_num_threads(1)


def chain(*convs, side=9, norm=False):
    """A small CNN: `convs` are keyword dicts of Conv2d; a linear layer to 4 classes follows."""
    parts, x = [], torch.zeros(2, convs[0]["in_channels"], side, side)
    for options in convs:
        parts.append(nn.Conv2d(**options))
        if norm:
            parts.append(nn.BatchNorm2d(options["out_channels"]))
        parts.append(nn.ReLU(inplace=True))
    parts.append(nn.Flatten())
    parts.append(nn.Linear(nn.Sequential(*parts)(x).shape[1], 4))
    return nn.Sequential(*parts), (convs[0]["in_channels"], side, side)


def conv(inputs, outputs, kernel, **options):
    return dict(in_channels=inputs, out_channels=outputs, kernel_size=kernel, **options)


def residual_net():
    """Two residual blocks, one with a projection shortcut."""

    def body(inputs, outputs, stride):
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    around = nn.Sequential(nn.Conv2d(12, 20, 1, 2, bias=False), nn.BatchNorm2d(20))
    stem = [nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU()]
    blocks = [Residual(body(12, 12, 1), nn.Identity()), Residual(body(12, 20, 2), around)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 4)]
    return nn.Sequential(*stem, *blocks, *head), (3, 8, 8)


NETS = {
    "odd": lambda: chain(conv(3, 11, 3, padding=1), conv(11, 19, 5, stride=2)),
    "no bias": lambda: chain(conv(1, 17, (3, 2), bias=False), conv(17, 9, 3, padding=(2, 0))),
    "dilated": lambda: chain(conv(2, 33, 3, dilation=2), conv(33, 20, 3, padding="same")),
    "grouped": lambda: chain(conv(4, 12, 3, groups=2), conv(12, 18, 3)),
    "reflect": lambda: chain(conv(2, 10, 3, padding=1, padding_mode="reflect"), conv(10, 18, 3)),
    "norm": lambda: chain(conv(3, 20, 3), conv(20, 18, 3, bias=False), norm=True),
    "residual": residual_net,
    "mlp": lambda: (build("mlp", (20,), 4, {"hidden": (30, 17)}, 0), (20,)),
    "lstm": lambda: (build("char-lstm", (6,), 4, {"hidden": (5, 7), "embedding": 3}, 0), (6,)),
    "lenet5": lambda: (build("lenet5", (1, 8, 8), 4, {}, 0), (1, 8, 8)),
}


def setting(net, batch=5):
    """Return (module, layout, x, y)."""
    torch.manual_seed(1)
    random = np.random.default_rng(3)
    module, shape = NETS[net]()
    layout = layout_of(module, np.zeros((1, *shape), np.float32))
    x = random.normal(size=(batch, *shape)).astype(np.float32)
    if net == "lstm":
        x = random.integers(4, size=(batch, *shape)).astype(np.float32)
    return module, layout, x, random.integers(4, size=batch)


def some_rows(layout, share=0.5):
    """Drop rows of every layer but the last at random; keep one at least."""
    random, kept = np.random.default_rng(4), []
    for layer in layout.layers[:-1]:
        rows = random.random(layer.rows) < share
        rows[0] = True
        kept.append(rows)
    return (*kept, None)


def reference(module, layout, x, y, rows=None):
    """Loss and gradient float32[P] of a copy, zeroed at the outputs of dropped rows."""
    twin = copy.deepcopy(module).train()
    kept = rows or (None,) * len(layout.layers)
    for layer, parts, keep in zip(layout.layers, layer_modules(twin, layout), kept, strict=True):
        if keep is not None and layer.kind in ("conv", "linear"):
            shape = (-1, 1, 1) if layer.kind == "conv" else (-1,)
            mask = torch.tensor(keep, dtype=torch.float32).view(shape)
            parts[0].register_forward_hook(_masking(mask))
    loss = nn.functional.cross_entropy(twin(torch.tensor(x)), torch.tensor(y))
    loss.backward()
    found = dict(twin.named_parameters())
    grad = np.zeros(layout.size, np.float32)
    for tensor in layout.tensors:
        if tensor.trained:
            values = found[tensor.name].grad.numpy().copy()
            keep = kept[tensor.layer]
            if keep is not None and len(values) == len(keep):
                values[~keep] = 0  # normalisation entries go with their row
            grad[tensor.start : tensor.start + tensor.size] = values.ravel()
    return loss.item(), grad, twin


def _masking(mask):
    def hook(part, inputs, output):
        output.register_hook(lambda gradient: gradient * mask)

    return hook


def state_of(module, layout):
    """The flat vector of a module, float32[P]."""
    state = module.state_dict()
    return np.concatenate([state[name].numpy().ravel() for name in layout.names])


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("net", NETS)
def test_dense_gradient_is_autograds(net):
    module, layout, x, y = setting(net)
    loss, expected, twin = reference(module, layout, x, y)
    weights = state_of(module, layout)
    engine = TorchGradients(module, layout)
    grad = np.full(layout.size, np.nan, np.float32)
    assert engine.gradient(weights, x, y, grad) == loss
    assert np.array_equal(grad, expected)
    assert np.array_equal(weights, state_of(twin, layout))  # running statistics moved alike


@pytest.mark.parametrize("net", sorted(set(NETS) - {"lstm"}))
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.95])
def test_dropped_rows_vanish_as_in_the_masked_dense_gradient(net, share):
    module, layout, x, y = setting(net)
    rows = some_rows(layout, share)
    loss, expected, _ = reference(module, layout, x, y, rows)
    weights = state_of(module, layout)
    grad = np.full(layout.size, np.nan, np.float32)
    assert TorchGradients(module, layout).gradient(weights, x, y, grad, Backward(rows)) == loss
    close(grad, expected)
    for tensor in layout.tensors:
        keep = rows[tensor.layer]
        if keep is not None:
            block = grad[tensor.start : tensor.start + tensor.size].reshape(len(keep), -1)
            assert not block[~keep].any()


def test_kept_filters_of_the_top_conv_get_the_dense_gradient():
    module, layout, x, y = setting("odd")
    _, dense, _ = reference(module, layout, x, y)
    keep = np.arange(19) % 3 == 0
    weights, grad = state_of(module, layout), np.zeros(layout.size, np.float32)
    engine = TorchGradients(module, layout)
    engine.gradient(weights, x, y, grad, Backward((None, keep, None)))
    top = layout.slice("2.weight")
    close(grad[top].reshape(19, -1)[keep], dense[top].reshape(19, -1)[keep])
    below = layout.slice("0.weight")
    assert np.abs(grad[below] - dense[below]).max() > 1e-4  # dropped channels no longer pass on


def test_no_kept_row_stops_everything_below():
    module, layout, x, y = setting("norm")
    rows = (None, np.zeros(18, bool), None)
    grad = np.full(layout.size, np.nan, np.float32)
    TorchGradients(module, layout).gradient(state_of(module, layout), x, y, grad, Backward(rows))
    head = layout.slice("7.weight").start
    assert not grad[:head].any() and grad[head:].any()


def test_a_dropped_lstm_passes_nothing_on():
    module, layout, x, y = setting("lstm")
    rows = (None, None, np.array([False]), None)
    grad = np.full(layout.size, np.nan, np.float32)
    TorchGradients(module, layout).gradient(state_of(module, layout), x, y, grad, Backward(rows))
    head = layout.slice("fc.weight").start
    assert not grad[:head].any() and grad[head:].any()


@pytest.mark.parametrize("net", NETS)
def test_nothing_moves_below_the_lowest_trained_layer(net):
    module, layout, x, y = setting(net)
    _, expected, twin = reference(module, layout, x, y)
    before = state_of(module, layout)
    weights, grad = before.copy(), np.full(layout.size, np.nan, np.float32)
    TorchGradients(module, layout).gradient(weights, x, y, grad, Backward(lowest=1))
    edge = next(t.start for t in layout.tensors if t.layer == 1)
    assert not grad[:edge].any()
    assert np.array_equal(grad[edge:], expected[edge:])
    assert np.array_equal(weights[:edge], before[:edge])
    assert np.array_equal(weights[edge:], state_of(twin, layout)[edge:])


def test_statistics_of_dropped_rows_stay():
    module, layout, x, y = setting("norm")
    keep = np.arange(20) % 2 == 0
    before = state_of(module, layout)
    weights, grad = before.copy(), np.empty(layout.size, np.float32)
    TorchGradients(module, layout).gradient(weights, x, y, grad, Backward((keep, None, None)))
    for name in ("1.running_mean", "1.running_var"):
        moved = weights[layout.slice(name)] != before[layout.slice(name)]
        assert np.array_equal(moved, keep)


def test_full_rows_are_the_dense_gradient_bit_for_bit():
    module, layout, x, y = setting("residual")
    _, expected, _ = reference(module, layout, x, y)
    rows = tuple(np.ones(layer.rows, bool) for layer in layout.layers)
    grad = np.empty(layout.size, np.float32)
    TorchGradients(module, layout).gradient(state_of(module, layout), x, y, grad, Backward(rows))
    assert np.array_equal(grad, expected)


def test_plans_leave_no_trace_in_the_engine():
    module, layout, x, y = setting("residual")
    weights = state_of(module, layout)
    engine = TorchGradients(module, layout)
    first, again = np.empty((2, layout.size), np.float32)
    engine.gradient(weights.copy(), x, y, first)
    engine.gradient(weights.copy(), x, y, again, Backward(some_rows(layout), lowest=2))
    engine.outputs(weights, x)
    engine.gradient(weights.copy(), x, y, again)
    assert np.array_equal(first, again)


def test_own_buffers_and_other_vectors_give_the_same_bits():
    module, layout, x, y = setting("norm")
    weights, grad = state_of(module, layout), np.empty(layout.size, np.float32)
    engine = TorchGradients(module, layout)
    odd = np.empty(layout.size + 1, np.float32)[1:]  # a vector that lies elsewhere in a cache line
    odd[:] = weights
    first = engine.gradient(odd, x, y, grad)
    engine.weights[:] = weights
    assert engine.gradient(engine.weights, x, y, engine.grad) == first
    assert np.array_equal(engine.grad, grad)
    assert np.array_equal(engine.weights, odd)


@pytest.mark.parametrize("net", ["norm", "mlp", "no bias"])
def test_activations_are_sums_of_raw_outputs(net):
    module, layout, x, y = setting(net)
    expected = []

    def record(part, inputs, output):
        values = output.detach().double().abs()
        expected.append((values.sum((0, 2, 3)) if values.dim() == 4 else values.sum(0)).numpy())

    twin = copy.deepcopy(module)
    for parts in layer_modules(twin, layout):
        parts[0].register_forward_hook(record)
    twin(torch.tensor(x))
    sums = [np.zeros(layer.rows) for layer in layout.layers]
    engine, grad = TorchGradients(module, layout), np.empty(layout.size, np.float32)
    weights = engine.weights.copy()
    for _ in range(2):
        engine.gradient(weights.copy(), x, y, grad, activations=sums)
    engine.gradient(weights, x, y, grad)
    for found, once in zip(sums, expected, strict=True):
        np.testing.assert_allclose(found, 2 * once, rtol=1e-6)


def test_outputs_are_those_of_evaluation():
    module, layout, x, _ = setting("norm")
    weights = state_of(module, layout) + 0.1
    engine = TorchGradients(copy.deepcopy(module), layout)
    found = engine.outputs(weights, x)
    for tensor in layout.tensors:
        module.state_dict()[tensor.name].add_(0.1)
    with torch.no_grad():
        expected = module.eval()(torch.tensor(x)).numpy()
    assert found.dtype == np.float32 and np.array_equal(found, expected)


def test_rows_that_do_not_fit_are_refused():
    module, layout, x, y = setting("mlp")
    engine = TorchGradients(module, layout)
    for rows in [(None,), (np.ones(3, bool), None, None)]:
        with pytest.raises(ValueError, match="rows"):
            engine.gradient(engine.weights, x, y, engine.grad, Backward(rows))
