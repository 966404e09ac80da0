"""Smaller networks: their weights lie in the model's, and removed rows leave outputs alone."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fedmpi.errors import ConfigError
from fedmpi.learn.fast.kernel_gradients import KernelGradients
from fedmpi.learn.layout_of import layout_of
from fedmpi.learn.models import build
from fedmpi.learn.narrow import narrow
from fedmpi.learn.networks import Networks
from fedmpi.learn.torch_gradients import TorchGradients
from fedmpi.plan import Submodel
from fedmpi.units import narrowed

SAMPLE = np.zeros((1, 3, 32, 32), np.float32)


def networks(name="fedskel-cifar", sample=SAMPLE, **options):
    def make(more):
        return build(name, sample.shape[1:], 10, options | more, 1)

    def backend(module):
        found = TorchGradients(module, layout_of(module, sample))
        return found, found.weights.copy()

    found = Networks(make, sample, backend)
    return found, found.whole.first


def part_of(layout, keep):
    rows = [np.ones(layer.rows, bool) for layer in layout.layers]
    for number, dropped in keep.items():
        rows[number][dropped] = False
    return Submodel.of_rows(rows), rows


@pytest.mark.parametrize("name", ["fedskel-cifar", "vgg11", "mlp"])
def test_rows_that_give_nothing_can_be_removed_without_a_trace(name, rng):
    nets, weights = networks(name)
    layout = nets.whole.layout
    part, rows = part_of(layout, {0: [1, 3], 1: [0, 5, 7], len(layout.layers) - 2: [2]})
    weights = weights.copy()
    for number, keep in enumerate(rows):  # without weights, scale and shift a row gives 0
        for t in layout.layer_tensors[number]:
            tensor = layout.tensors[t]
            if tensor.trained:
                block = weights[tensor.start : tensor.start + tensor.size]
                block.reshape(tensor.rows, -1)[~keep] = 0
    small = nets.of(part)
    assert small.layout.size == narrowed(layout, rows).sum() < layout.size
    x = rng.standard_normal((6, 3, 32, 32)).astype(np.float32)
    expected = nets.whole.backend.outputs(weights, x)
    np.testing.assert_allclose(
        small.backend.outputs(small.enter(weights, None), x), expected, atol=1e-5
    )
    macs = [sum(layer.macs for layer in n.layout.layers) for n in (small, nets.whole)]
    assert macs[0] < macs[1]


def test_what_a_part_learned_goes_back_to_its_places():
    nets, weights = networks()
    part, rows = part_of(nets.whole.layout, {0: [0, 1]})
    small = nets.of(part)
    whole, private = small.leave(weights, small.enter(weights, None) + 1)
    mask = narrowed(nets.whole.layout, rows)
    assert np.array_equal(whole != weights, mask == 1) and len(private) == 0


def test_a_level_shares_its_first_layers_and_keeps_a_private_end():
    nets, weights = networks("fedlp-cnn")
    part = Submodel(options=(("level", 1),), shared=10_400)
    small = nets.of(part)
    assert nets.of(part) is small
    own = small.enter(weights, None)
    assert np.array_equal(own[:10_400], weights[:10_400])
    whole, private = small.leave(weights, own * 2)
    assert np.array_equal(whole[10_400:], weights[10_400:])
    assert np.array_equal(whole[:10_400], weights[:10_400] * 2)
    assert np.array_equal(private, own[10_400:] * 2)
    assert np.array_equal(small.enter(weights, private)[10_400:], private)
    assert small.part_of(None) is None
    with pytest.raises(ConfigError, match="a Submodel with a private end, and a vector"):
        small.part_of(np.ones(len(weights), np.uint8))


def test_a_level_that_shares_nothing_is_refused():
    nets, _ = networks("mlp", hidden=(4,))
    with pytest.raises(ConfigError, match="shares no first layers"):
        nets.of(Submodel(options=(("hidden", (5,)),), shared=3072 * 4 + 4))


@pytest.mark.parametrize(
    ("name", "dropped", "reason"),
    [("resnet18", {0: [0]}, "plain chain"), ("resnet20", {0: [0]}, "not a plain chain")],
)
def test_residual_networks_cannot_be_narrowed(name, dropped, reason):
    nets, _ = networks(name)
    with pytest.raises(ConfigError, match=reason):
        nets.of(part_of(nets.whole.layout, dropped)[0])


def test_only_a_few_parts_are_kept_ready():
    nets, _ = networks("mlp", hidden=(16,))
    layout = nets.whole.layout
    for dropped in range(12):
        nets.of(part_of(layout, {0: [dropped]})[0])
    assert len(nets._parts) == 8


def test_a_network_that_begins_with_a_norm_loses_rows_behind_it():
    sample = np.linspace(-1, 1, 32, dtype=np.float32).reshape(1, 2, 4, 4)

    def make(more):
        return nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(20, 3))

    def backend(module):
        found = TorchGradients(module, layout_of(module, sample))
        return found, found.weights.copy()

    nets = Networks(make, sample, backend)
    layout, weights = nets.whole.layout, nets.whole.first.copy()
    part, _ = part_of(layout, {1: [0, 3]})
    for t in layout.layer_tensors[1]:
        tensor = layout.tensors[t]
        weights[tensor.block].reshape(5, -1)[[0, 3]] = 0
    small = nets.of(part)
    found = small.backend.outputs(small.enter(weights, None), sample)
    np.testing.assert_allclose(found, nets.whole.backend.outputs(weights, sample), atol=1e-6)


@pytest.mark.parametrize(("parts", "number"), [
    ([nn.Conv2d(4, 4, 3, groups=2)], 0),
    ([nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4)], 1),
])  # fmt: skip
def test_rows_of_layers_with_groups_cannot_be_removed(parts, number):
    """Those that are left came to read the channels of other groups, if these divide them."""
    module = nn.Sequential(*parts, nn.Flatten(), nn.Linear(4, 3))
    layout = layout_of(module, torch.zeros(1, 4, 3, 3))
    rows = [np.array([False, True, True, False]), *[np.ones(4, bool)] * number, np.ones(3, bool)]
    said = f"layer {number} has 2 groups, so its rows do not read the same"
    with pytest.raises(ConfigError, match=said):
        narrow(copy.deepcopy(module), layout, rows)
    narrow(module, layout, [np.ones(layer.rows, bool) for layer in layout.layers])


def test_a_module_that_has_no_weight_is_refused_with_the_names_of_its_statistics():
    """The names were missing: "Scaled has , which are not the weight and bias of a layer"."""

    class Scaled(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(4, 5), nn.Linear(5, 3))
            self.register_buffer("scale", torch.ones(1))
            self.register_buffer("calls", torch.zeros(1, dtype=torch.int64))

        def forward(self, x):
            return super().forward(x) * self.scale

    module = Scaled()
    layout = layout_of(module, torch.zeros(1, 4))
    rows = [np.ones(layer.rows, bool) for layer in layout.layers]
    with pytest.raises(ConfigError, match="model: Scaled has scale, outside of the weight and"):
        narrow(module, layout, rows)


def test_parts_of_as_many_rows_share_a_backend_of_kernels():
    """Building a network for each client's rows took half of a round of federated dropout."""
    sample = np.linspace(-1, 1, 72, dtype=np.float32).reshape(1, 2, 6, 6)

    def fresh():
        def make(more):
            torch.manual_seed(1)
            parts = nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 4), nn.Linear(4, 3)
            return nn.Sequential(*parts)

        def backend(module):
            found = KernelGradients.of(module, layout_of(module, sample), sample.shape[1:])
            return found, found.weights.copy()

        return Networks(make, sample, backend)

    nets = fresh()
    layout = nets.whole.layout
    one, other, fewer = (part_of(layout, {0: rows})[0] for rows in ([0, 3], [1, 2], [1, 2, 3]))
    first, second = nets.of(one), nets.of(other)
    assert first.backend is second.backend is not nets.of(fewer).backend
    alone = fresh().of(other)
    assert np.array_equal(second.index, alone.index) and second.layout == alone.layout
    weights = nets.whole.first
    outputs = [n.backend.outputs(n.enter(weights, None), sample) for n in (second, alone, first)]
    assert np.array_equal(outputs[0], outputs[1]) and not np.array_equal(outputs[0], outputs[2])


def test_parts_with_constants_of_their_own_rows_share_nothing():
    class Scaled(nn.Linear):
        def __init__(self):
            super().__init__(4, 5)
            self.register_buffer("scale", torch.arange(5.0), persistent=False)

        def forward(self, x):
            return super().forward(x) * self.scale

    sample = np.ones((1, 4), np.float32)

    def backend(module):
        found = TorchGradients(module, layout_of(module, sample))
        return found, found.weights.copy()

    nets = Networks(lambda more: nn.Sequential(Scaled(), nn.Linear(5, 2)), sample, backend)
    ones = np.ones(nets.whole.layout.size, np.float32)
    outputs = [
        small.backend.outputs(small.enter(ones, None), sample)[0, 0]
        for small in (nets.of(part_of(nets.whole.layout, {0: [row]})[0]) for row in range(5))
    ]
    assert outputs == [1 + 5 * (10 - row) for row in range(5)]


def test_a_part_takes_the_layout_of_the_model_as_it_is(monkeypatch):
    """It was found again for each part, with all the passes that check a new model."""
    nets, _ = networks("mlp", hidden=(6,))
    found = []

    def counted(module, sample, *more):
        found.append(module)
        return layout_of(module, sample, *more)

    monkeypatch.setattr("fedmpi.learn.layout_of.layout_of", counted)
    part = part_of(nets.whole.layout, {0: [0, 4]})[0]
    for asked in (part, Submodel(rows=part.rows, divisor=0.5)):
        module, index = nets._module_of(asked)
        assert sum(values.numel() for values in module.parameters()) == len(index)
    assert not found


def test_layers_that_are_not_cut_into_rows_stay_whole():
    """The slopes of a PReLU, and the weights of a transposed convolution, are one row."""
    module = nn.Sequential(
        nn.Conv2d(1, 3, 2), nn.PReLU(3), nn.ConvTranspose2d(3, 2, 2), nn.Flatten(),
        nn.Linear(32, 5), nn.ReLU(), nn.Linear(5, 4),
    )  # fmt: skip
    x = torch.ones(2, 1, 4, 4)
    layout = layout_of(module, x[:1])
    with torch.no_grad():
        module[4].weight[1], module[4].bias[1] = 0, 0  # the row gives 0
    whole = module(x)
    _, rows = part_of(layout, {3: [1]})
    narrow(module, layout, rows)
    assert module[1].weight.shape == (3,) and module[4].weight.shape == (4, 32)
    torch.testing.assert_close(module(x), whole)
