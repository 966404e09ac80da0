"""Layouts of torch modules, and modules bound to flat vectors."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from fedmpi import flops
from fedmpi.errors import ConfigError
from fedmpi.learn.layout_of import bind, flat_weights, layer_modules, layout_of
from fedmpi.learn.models import build

IMAGE = torch.zeros(1, 3, 8, 8)
NUMBERS = itertools.count()


def small(*more):
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), *more)


def test_lenet_in_full():
    module = build("lenet5", (1, 28, 28), 10, {}, 0)
    layout = layout_of(module, np.zeros((1, 1, 28, 28), np.float32))
    assert [(a.name, a.kind, a.rows, a.macs) for a in layout.layers] == [
        ("conv1", "conv", 6, 28 * 28 * 6 * 25),
        ("conv2", "conv", 16, 10 * 10 * 16 * 150),
        ("fc1", "linear", 120, 400 * 120),
        ("fc2", "linear", 84, 120 * 84),
        ("fc3", "linear", 10, 84 * 10),
    ]
    assert layout.size == 61_706
    assert layout.names[:3] == ("conv1.weight", "conv1.bias", "conv2.weight")


def test_tensors_follow_each_other_and_rows_divide_them():
    layout = layout_of(build("resnet20", (3, 32, 32), 10, {}, 0), torch.zeros(1, 3, 32, 32))
    ends = np.cumsum([tensor.size for tensor in layout.tensors])
    assert [tensor.start for tensor in layout.tensors] == [0, *ends[:-1]]
    assert [t.layer for t in layout.tensors] == sorted(t.layer for t in layout.tensors)
    assert all(t.rows == layout.layers[t.layer].rows for t in layout.tensors)


def test_a_batch_norm_joins_the_layer_whose_rows_it_normalises():
    layout = layout_of(small(), IMAGE)
    assert [layer.kind for layer in layout.layers] == ["conv"]
    assert [(t.name, t.trained) for t in layout.tensors] == [
        ("0.weight", True),
        ("0.bias", True),
        ("1.weight", True),
        ("1.bias", True),
        ("1.running_mean", False),
        ("1.running_var", False),
    ]
    assert layout.trained.sum() == layout.size - 12


def test_layer_norms_are_layers_whose_rows_are_their_first_axis():
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.LayerNorm((6, 6, 6)), nn.Flatten(),
        nn.Linear(216, 5), nn.LayerNorm(5),
    )  # fmt: skip
    layout = layout_of(module, np.zeros((1, 3, 8, 8), np.float32))
    told = [(layer.kind, layer.rows, layer.macs) for layer in layout.layers]
    assert told == [
        ("conv", 6, 6 * 36 * 27), ("norm", 6, 0), ("linear", 5, 216 * 5), ("norm", 5, 0)
    ]  # fmt: skip
    weights = [tensor for tensor in layout.tensors if tensor.layer in (1, 3)]
    assert [(tensor.shape, tensor.rows) for tensor in weights] == [
        ((6, 6, 6), 6), ((6, 6, 6), 6), ((5,), 5), ((5,), 5)
    ]  # fmt: skip


def test_other_norms_are_layers_of_their_own():
    grouped = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6))
    layout = layout_of(grouped, IMAGE)
    assert [(layer.kind, layer.rows) for layer in layout.layers] == [
        ("norm", 3),
        ("conv", 6),
        ("norm", 6),
    ]
    plain = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, 6, 3))
    names = layout_of(plain, IMAGE).names
    assert names[:2] == ("0.running_mean", "0.running_var")


def test_layers_come_in_the_order_of_the_forward_pass():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(4, 2)
            self.first = nn.Linear(3, 4)

        def forward(self, x):
            return self.last(self.first(x))

    layout = layout_of(Backwards(), torch.zeros(1, 3))
    assert [layer.name for layer in layout.layers] == ["first", "last"]


def test_macs_of_strides_groups_and_sequences():
    convs = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, groups=3), nn.ReLU(), nn.Conv2d(6, 4, 1))
    assert [layer.macs for layer in layout_of(convs, IMAGE).layers] == [9 * 6 * 9, 9 * 4 * 6]
    lstm = build("char-lstm", (7,), 20, {"embedding": 3, "hidden": (5,)}, 0)
    layout = layout_of(lstm, np.zeros((1, 7), np.int64))
    assert [(a.kind, a.rows, a.macs) for a in layout.layers] == [
        ("embedding", 20, 0),
        ("lstm", 1, 7 * 4 * 5 * (3 + 5)),
        ("linear", 20, 20 * 5),
    ]


def test_a_module_with_parameters_of_its_own_is_a_layer_of_one_row():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.register_buffer("shift", torch.ones(3), persistent=False)
            self.inner = nn.Linear(3, 2)

        def forward(self, x):
            return self.inner(x * self.scale + self.shift)

    layout = layout_of(Scaled(), torch.zeros(1, 3))
    assert [(a.name, a.kind, a.rows) for a in layout.layers] == [
        ("model", "other", 1),
        ("inner", "linear", 2),
    ]
    assert layout.names == ("scale", "inner.weight", "inner.bias")


def test_the_module_is_left_as_it_was():
    module = small(nn.Flatten())
    module[1].eval()
    before = {name: values.clone() for name, values in module.state_dict().items()}
    state = torch.get_rng_state()
    layout_of(module, IMAGE)
    assert [part.training for part in module.modules()] == [True, True, False, True, True]
    assert all(torch.equal(values, before[name]) for name, values in module.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert not any(part._forward_hooks for part in module.modules())


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.a(x)


class Averaging(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))

    def forward(self, x):
        if self.training:
            self.mean += 1
        return self.a(x)


class Restless(nn.Linear):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.5, training=True)


class Counting(nn.Linear):  # draws from elsewhere than torch
    def forward(self, x):
        return super().forward(x) + next(NUMBERS) * (self.training or self.bias is None)


def frozen():
    return nn.Sequential(nn.Linear(3, 2).requires_grad_(False))


def empty():
    layer = nn.Identity()
    layer.more = nn.Parameter(torch.zeros(0, 2))
    return layer


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Unused(), "never calls 'b'"),
        (Averaging(), "mean is torch.float64 and changes in training"),
        (nn.Linear(3, 2).double(), "float64"),
        (frozen(), "all of its parameters are frozen"),
        (nn.ReLU(), "no parameters"),
        (nn.Sequential(nn.Linear(3, 2), empty()), r"1.more has the shape \[0, 2\]"),
        (nn.Linear(2**17, 2**16, device="meta"), "8,590,000,128 .* at most 4,294,967,295"),
        (Restless(3, 2), "random numbers in evaluation mode"),
        (Counting(3, 2, bias=False), "in evaluation differ, .* draw with torch"),
        (Counting(3, 2), "in training differ, .* draw with torch"),
        (nn.Sequential(nn.Linear(4, 2)), "fails on input of shape"),
        (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, momentum=None)), "momentum=None"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(module, message):
    with pytest.raises(ConfigError, match=message):
        layout_of(module, torch.zeros(1, 3))


def test_bound_modules_live_in_the_flat_vector():
    module = small(nn.Flatten(), nn.Linear(6 * 36, 2))
    layout = layout_of(module, IMAGE)
    weights, grad = flat_weights(module, layout), torch.zeros(layout.size)
    expected = {name: values.clone() for name, values in module.state_dict().items()}
    bind(module, layout, weights, grad)
    x = torch.randn(4, 3, 8, 8)
    for name, values in module.state_dict().items():
        assert torch.equal(values, expected[name])
    module(x).sum().backward()
    block = layout.slice("4.bias")
    assert grad[block].tolist() == [4.0, 4.0]
    assert weights[layout.slice("1.running_mean")].abs().sum() > 0
    weights.zero_()
    assert not module.eval()(x).any()


def test_modules_of_each_layer():
    module = small(nn.Flatten(), nn.Linear(6 * 36, 2))
    parts = layer_modules(module, layout_of(module, IMAGE))
    assert parts == [[module[0], module[1]], [module[4]]]


def pruned():
    """Return a linear layer that torch prunes."""
    layer = nn.Linear(4, 2)
    return prune.l1_unstructured(layer, "weight", 0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LazyLinear(2), "model: 0 is a lazy module without a size"),
        (lambda: parametrizations.weight_norm(nn.Linear(4, 2)), "0 computes its weights"),
        (lambda: parametrizations.spectral_norm(nn.Linear(4, 2)), "0 computes its weights"),
        (lambda: nn.utils.spectral_norm(nn.Linear(4, 2)), "0 computes its weights"),
        (pruned, "0 is pruned by a hook; call torch.nn.utils.prune.remove"),
        (lambda: nn.EmbeddingBag(9, 2, sparse=True), "0 has sparse gradients"),
    ],
)
def test_modules_whose_tensors_are_not_what_is_sent_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        layout_of(nn.Sequential(make()), torch.zeros(1, 4))


class Answers(nn.Linear):
    """Returns the result of `of` for its output."""

    def __init__(self, of):
        super().__init__(4, 2)
        self.of = of

    def forward(self, x):
        return self.of(super().forward(x))


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (lambda y: (y, y), "returns a tuple; return one tensor"),
        (lambda y: {"logits": y}, "returns a dict; return one tensor"),
        (lambda y: {}["logits"], r"fails on input of shape \(1, 4\): 'logits'"),
    ],
)
def test_a_forward_pass_that_gives_no_tensor_is_refused(of, message):
    with pytest.raises(ConfigError, match=message):
        layout_of(Answers(of), torch.zeros(1, 4))


def test_weights_that_read_what_others_of_their_module_gave_have_an_input_gradient():
    """By hand, for layers that read the samples: only the first weights have none."""

    class Recurrent(nn.RNN):
        def forward(self, x):
            return super().forward(x)[0]

    recurrent = layout_of(Recurrent(4, 2, num_layers=2, batch_first=True), torch.zeros(1, 8, 4))
    assert flops.count(recurrent).tolist() == [[2 * 8 * 20, 2 * 8 * 20, 2 * 8 * 12]]

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x):
            return self.inner(x, x, x)[0]

    attention = layout_of(Attention(), torch.zeros(1, 5, 6))
    products = 2 * 2 * 5 * 5 * 6
    weights = 2 * 5 * 4 * 36
    told = flops.count(attention).tolist()
    assert told == [[weights + products, weights, weights // 4 + 2 * products]]
