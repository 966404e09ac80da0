"""Channel gates: the channels that each sample keeps, the trained gates, and their cost."""

import numpy as np
import pytest
import torch
from torch import nn

from fedmpi import flops
from fedmpi.errors import ConfigError
from fedmpi.learn.gates import Gate, gated
from fedmpi.learn.layout_of import layout_of
from fedmpi.learn.models import build
from fedmpi.learn.open_channels import left_by_gates
from fedmpi.plan import Gates


def model(name, gates, shape=(3, 32, 32), **options):
    module = build(name, shape, 10, options, 1)
    return module if gates is None else gated(module, gates, 1)


@pytest.fixture
def conv():
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 10, 3)
    gated(torch.nn.Sequential(conv), Gates(0.7), 1)
    return conv


@pytest.mark.parametrize(("ratio", "kept"), [(0.7, 7), (0.25, 2), (1.0, 10)])
def test_exactly_the_share_of_channels_is_kept_for_each_sample(ratio, kept):
    conv = torch.nn.Conv2d(3, 10, 3)
    module = gated(torch.nn.Sequential(conv), Gates(ratio), 1)
    with torch.no_grad():
        conv.gate.weight.mul_(0.1)  # all gates open
        out = module(torch.randn(5, 3, 8, 8))
    open_channels = (out.abs().sum((2, 3)) > 0).sum(1)
    assert open_channels.tolist() == [kept] * 5


def test_the_gate_is_relu_of_the_pooled_input(conv):
    x = torch.randn(4, 3, 8, 8)
    g = torch.relu(x.mean((2, 3)) @ conv.gate.weight.T + conv.gate.bias)
    top = g.topk(7, dim=1)
    expected = torch.zeros_like(g).scatter(1, top.indices, top.values)
    torch.testing.assert_close(conv.gate(x), expected)
    plain = torch.nn.functional.conv2d(x, conv.weight, conv.bias)
    torch.testing.assert_close(conv(x), plain * expected[:, :, None, None])


def test_a_closed_channel_gets_no_gradient_from_that_sample(conv):
    x = torch.randn(1, 3, 8, 8)
    out = conv(x)
    closed = conv.gate.open[0] == 0
    assert closed.sum() == 3
    out.square().sum().backward()
    assert not conv.weight.grad[closed].any() and not conv.bias.grad[closed].any()
    assert conv.weight.grad[~closed].abs().sum((1, 2, 3)).all()
    assert not conv.gate.weight.grad[closed].any() and conv.gate.weight.grad[~closed].any()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_of_equal_gates_those_of_the_first_channels_stay(kept):
    gate = Gate(torch.nn.Conv2d(3, 64, 3), Gates(kept), np.random.default_rng(1))
    with torch.no_grad():
        gate.weight.zero_()
        gate.bias[::4] = 2
        found = gate(torch.randn(5, 3, 8, 8))
    first = np.argsort(np.arange(64) % 4 > 0, kind="stable")[: round(kept * 64)]
    assert all(row.nonzero()[:, 0].tolist() == sorted(first) for row in found)


def test_the_first_gates_are_those_of_the_paper():
    gate = Gate(torch.nn.Conv2d(64, 256, 3), Gates(0.5), np.random.default_rng(1))
    assert (gate.bias == 1).all()
    assert gate.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.02)


def test_the_normalisation_is_gated_and_joins_its_layer_still():
    module = model("vgg11", Gates(0.5), batch_norm=True)
    layout = layout_of(module, np.zeros((1, 3, 32, 32), np.float32))
    names = [layer.name for layer in layout.layers]
    assert names[:4] == ["conv1", "conv1.gate", "conv2", "conv2.gate"]
    assert "bn1.weight" in [layout.tensors[t].name for t in layout.layer_tensors[0]]
    with torch.no_grad():
        module.eval()
        x = torch.randn(3, 3, 32, 32)
        normal = torch.nn.functional.conv2d(x, module.conv1.weight, module.conv1.bias, padding=1)
        gates = module.conv1.gate(x)[:, :, None, None]
        torch.testing.assert_close(module.bn1(module.conv1(x)), module.bn1.forward(normal) * gates)


def test_gates_of_resnet32_add_the_published_number_of_parameters():
    """All convolutions but the stem, as in the published code: 52,320 parameters."""
    models = [model("resnet32", gates) for gates in (None, Gates(0.7, stem=False))]
    sizes = [sum(p.numel() for p in module.parameters()) for module in models]
    assert sizes == [464_154, 464_154 + 52_320]


@pytest.mark.parametrize(
    ("name", "gates", "convs"),
    [
        ("vgg13", Gates(0.7), 0.492),
        ("resnet32", Gates(0.7, stem=False), 0.585),
        ("resnet32", Gates(0.6, stem=False), 0.484),
    ],
)
def test_gates_leave_the_published_share_of_multiply_adds(name, gates, convs):
    layout = layout_of(model(name, gates), np.zeros((1, 3, 32, 32), np.float32))
    left = left_by_gates(layout, gates)
    is_conv = np.array([layer.kind == "conv" for layer in layout.layers])
    macs = np.array([layer.macs for layer in layout.layers])
    assert (macs * left)[is_conv].sum() / macs[is_conv].sum() == pytest.approx(convs, abs=0.003)
    cost = flops.forward(layout, gate=left)
    np.testing.assert_allclose(cost, 2.0 * macs * left)


def test_gates_do_not_depend_on_torchs_generator():
    torch.manual_seed(1)
    one = model("lenet5", Gates(0.5), (1, 8, 8))
    torch.manual_seed(2)
    other = model("lenet5", Gates(0.5), (1, 8, 8))
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_norm_that_runs_before_the_convolution_in_front_of_it_is_named():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
            self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.second(self.two(self.first(self.one(x)))).mean((2, 3))

    with pytest.raises(ConfigError, match="'first' stands behind the convolution 'two'"):
        layout_of(gated(Net(), Gates(0.5), 1), np.zeros((1, 3, 8, 8), np.float32))
