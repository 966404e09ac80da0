"""Modules of any kind: laid out, counted, and trained as plain autograd trains them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import fedmpi
from fedmpi import flops
from fedmpi.errors import ConfigError
from fedmpi.exchange import Job
from fedmpi.layout import Support
from fedmpi.learn.constants import freeze
from fedmpi.learn.engine import ClientData, OnDevice
from fedmpi.learn.engines import engine_for
from fedmpi.learn.layout_of import layout_of
from fedmpi.learn.local import Local
from fedmpi.learn.partitions.partition import Partition
from fedmpi.learn.sample_arrays import Samples
from fedmpi.plan import Backward, Plan
from tests.learn.any_models import BUILD, Counting, bilinear, embedding, fourier, twice

SAMPLE = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8)
LOCAL = Local(
    epochs=2, steps=None, batch_size=4, optimizer="sgd", lr=0.1, lr_decay=1.0, momentum=0.5,
    weight_decay=0.0,
)  # fmt: skip
# Of each network: its layers (kind, rows), and how many of its tensors are not trained.
LAYERS = {
    "attention": ["linear 12", "attention 1", "linear 10"],
    "encoder": [
        "other 1", "linear 12", "attention 1", "norm 12", "linear 16", "linear 12", "norm 12",
        "linear 10",
    ],
    "embedding": ["embedding 2", "norm 192", "linear 10"],
    "gru": ["linear 6", "gru 1", "linear 10"],
    "depthwise": ["conv 4", "norm 4", "conv 8", "linear 10"],
    "transposed": ["conv 3", "transposed 1", "norm 2", "linear 10"],
    "dropout": ["linear 20", "linear 10"],
    "tied": ["linear 64", "linear 64", "linear 10"],
    "twice": ["linear 64", "linear 10"],
    "borrowed": ["other 1", "linear 10"],
    "buffers": ["other 1", "linear 10"],
    "bare": ["conv 4", "linear 10"],
    "frozen": ["conv 4", "linear 8"],
}  # fmt: skip
# Where torch's counter and ours differ: it leaves out the first step's gradient of a state of
# zeros, and takes the weight gradient of a convolution of 4 groups for that of one of one group.
DIFFERENT = {"gru": 2 * 3 * 5 * 5, "depthwise": -3 * 2 * 8 * 9 * 16}


def seeded(kind):
    torch.manual_seed(3)
    return BUILD[kind]()


def engine(name, make, sizes=(9, 5), stacked=None):
    """Return the engine of that name, for two clients; the last batch has one sample."""
    rng, total = np.random.default_rng(5), sum(sizes)
    x = rng.standard_normal((total, 1, 8, 8)).astype(np.float32)
    partition = Partition(np.arange(total), np.cumsum([0, *sizes]))
    data = ClientData(Samples(x, rng.integers(0, 10, total)), partition, LOCAL, seed=11)
    on = OnDevice(stacked=stacked)
    return engine_for(lambda options: make(), x[:1], data, name, on=on)


def reports(made, jobs=((0, 2), (1, 0)), **plan):
    whole = Support.all(made.layout)
    state = {"weights": made.initial_weights.copy()}
    plan = Plan(whole, whole, **plan)
    return list(made.train(Job(c, r, state, plan, 0.5) for c, r in jobs))


def close(found, wanted):
    scale = np.abs(wanted).max(initial=1e-3)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5 * scale)


@pytest.mark.parametrize("kind", BUILD)
def test_layout_and_flops(kind):
    module = seeded(kind)
    layout = layout_of(module, SAMPLE)
    assert [f"{layer.kind} {layer.rows}" for layer in layout.layers] == LAYERS[kind]
    trained = {id(p): p.numel() for p in module.parameters() if p.requires_grad}
    assert layout.trained.sum() == sum(trained.values())
    assert not layout.uncounted
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(torch.from_numpy(SAMPLE)).sum().backward()
    assert flops.count(layout).sum() == counter.get_total_flops() + DIFFERENT.get(kind, 0)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module.requires_grad_(False)(torch.from_numpy(SAMPLE))
    assert flops.forward(layout).sum() == counter.get_total_flops()


@pytest.mark.parametrize("kind", BUILD)
@pytest.mark.parametrize("name", ["torch", "batched"])
def test_training_is_that_of_the_debug_engine_in_any_order(name, kind):
    if (name, kind) == ("batched", "buffers"):
        with pytest.raises(ConfigError, match=r"changes the buffer '2.calls' in training"):
            engine(name, lambda: seeded(kind))
        return
    mine, debug = (engine(one, lambda: seeded(kind)) for one in (name, "debug"))
    found, wanted = reports(mine), reports(debug)
    for one, other in zip(found, wanted, strict=True):
        close(one.weights, other.weights)
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert not np.array_equal(one.weights, mine.initial_weights)
    x, _ = mine.data.samples.take(np.arange(5))
    close(mine.outputs(found[0].weights, x), debug.outputs(found[0].weights, x))
    again = reports(mine, ((1, 0), (0, 2)))
    assert [r.weights.tobytes() for r in again] == [r.weights.tobytes() for r in reversed(found)]


@pytest.mark.parametrize("kind", ["attention", "tied", "twice", "transposed", "depthwise"])
def test_dropped_rows_and_lower_layers_stay_as_they_are(kind):
    mine, debug = (engine(name, lambda: seeded(kind)) for name in ("torch", "debug"))
    rows = [np.arange(layer.rows) % 2 == 0 for layer in mine.layout.layers[:-1]]
    for backward in (Backward((*rows, None)), Backward(lowest=1)):
        found, wanted = (reports(one, backward=backward) for one in (mine, debug))
        for one, other in zip(found, wanted, strict=True):
            close(one.weights, other.weights)


@pytest.mark.parametrize("make", [twice, embedding, bilinear])
@pytest.mark.parametrize("name", ["torch", "batched"])
def test_statistics_are_of_all_calls_of_a_module_and_of_all_its_rows(name, make):
    def built():
        torch.manual_seed(3)
        return make()

    told = {"statistics": ("activations", "relevance", "columns")}
    seen = [reports(engine(one, built), **told) for one in (name, "debug")]
    for mine, debug in zip(*seen, strict=True):
        for statistic, values in mine.statistics.items():
            close(np.concatenate(values), np.concatenate(debug.statistics[statistic]))
        assert mine.statistics["relevance"][0].any()


def test_dropout_is_drawn_for_each_client_round_and_step():
    made = engine("torch", lambda: seeded("dropout"), (5, 5))
    made.data = replace(made.data, local=replace(LOCAL, epochs=1, batch_size=5))
    before = torch.get_rng_state()
    one, other, later = reports(made, ((0, 0), (1, 0), (0, 1)))
    assert torch.equal(before, torch.get_rng_state())
    assert len({report.weights.tobytes() for report in (one, other, later)}) == 3
    still = reports(engine("torch", lambda: seeded("dropout").eval(), (5, 5)), ((0, 0),))[0]
    assert still.loss != one.loss  # the mode in which a model is built does not matter


def test_frozen_weights_are_constants():
    module = seeded("frozen")
    before = {name: values.clone() for name, values in module.state_dict().items()}
    made = engine("torch", lambda: module)
    assert set(made.layout.names) == {"3.weight", "3.bias", "7.weight", "7.bias"}
    assert set(made.constants) == {"0.weight", "0.bias", "1.weight", "1.bias", "5.weight",
                                   "5.bias", "9.weight", "9.bias"}
    assert made.layout.layers[0].frozen and made.layout.tail == 80
    reports(made)
    for name, values in module.state_dict().items():
        assert torch.equal(values, before[name]) == (name[0] in "0159")


def test_patterns_freeze_weights_and_statistics():
    module = seeded("depthwise")
    freeze(module, ("0.*", "4.*"))
    assert {name.partition(".")[0] for name in layout_of(module, SAMPLE).names} == {"1", "3", "7"}
    with pytest.raises(ConfigError, match=r"model.frozen = '4.wieght': names no parameter"):
        freeze(module, ("4.wieght",))


def normalised():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6), nn.ReLU(),
                         nn.Linear(6, 10))


CHANGES = {
    "forward hook": lambda net: net[1].register_forward_hook(lambda part, x, y: 2 * y),
    "backward hook": lambda net: net[4].register_full_backward_hook(
        lambda part, of_x, of_y: (2 * of_x[0],)
    ),
    "hook of a weight": lambda net: net[1].weight.register_hook(lambda gradient: 0 * gradient),
    "other forward pass": lambda net: setattr(net[1], "forward", net[1].forward.__func__.__get__(
        Doubled(net[1]))),
}


class Doubled:
    """A linear layer's weights, twice as large."""

    def __init__(self, part):
        self._part = part

    @property
    def weight(self):
        return 2 * self._part.weight

    @property
    def bias(self):
        return self._part.bias


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_put_on_a_module_is_part_of_the_model(change):
    def make(*changes):
        torch.manual_seed(4)
        net = normalised()
        for one in changes:
            CHANGES[one](net)
        return net

    auto, debug = (engine(name, lambda: make(change)) for name in ("auto", "debug"))
    assert auto.name == "torch" and engine("auto", make).name == "kernels"
    found, wanted, plain = reports(auto), reports(debug), reports(engine("auto", make))
    close(found[0].weights, wanted[0].weights)
    assert np.abs(found[0].weights - plain[0].weights).max() > 1e-3
    with pytest.raises(ConfigError, match="no kernels for this model: "):
        engine("kernels", lambda: make(change))


def test_operations_that_nobody_counts_are_told(tmp_path):
    assert layout_of(fourier((1, 8, 8), 10), SAMPLE).uncounted == ("_fft_r2c in the model",)
    assert layout_of(nn.Sequential(nn.Flatten(), Counting(64, 10)), SAMPLE).uncounted == ()
    tree = {
        "run": {"rounds": 1},
        "clients": {"number": 2},
        "model": {"name": "tests.learn.any_models:fourier"},
    }
    with pytest.warns(UserWarning, match="not counted: _fft_r2c in the model"):
        found = fedmpi.run(tree, out=tmp_path / "a.h5")
    assert "FLOPs and virtual times leave out" in found.events[0]["text"]


class Shift(nn.Module):
    def forward(self, x):
        return (x - 0.5) * 2


class Writing(nn.Module):
    """The same, and it writes to its input."""

    def forward(self, x):
        return x.sub_(0.5).mul_(2)


@pytest.mark.parametrize("name", ["torch", "batched", "debug"])
def test_a_module_that_writes_to_its_input_changes_no_sample(name):
    def made(part):
        torch.manual_seed(3)
        return nn.Sequential(part, nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))

    rng, found = np.random.default_rng(5), []
    x = rng.standard_normal((9, 64)).astype(np.float32)
    data = ClientData(
        Samples(x, np.arange(9) % 10), Partition(np.arange(9), np.array([0, 9])), LOCAL, seed=11
    )
    for part in (Writing(), Shift()):
        one = engine_for(lambda options, part=part: made(part), x[:1], data, name)
        masked = np.ones(one.layout.size, np.uint8)
        masked[:200:3] = 0
        plan = {"mask": masked, "dense_norm": True, "statistics": ("gradient", "curvature")}
        report = reports(one, ((0, 0),), **plan)[0]
        outputs = [one.outputs(one.initial_weights, x) for _ in range(2)]
        found.append([report.weights, report.statistics["curvature"], *outputs])
    for mine, wanted in zip(*found, strict=True):
        close(mine, wanted)


@pytest.mark.parametrize("name", ["torch", "batched"])
def test_rows_are_dropped_where_the_weight_is_frozen_and_the_bias_is_not(name):
    def made():
        torch.manual_seed(3)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(),
                            nn.Linear(80, 6), nn.ReLU(), nn.Linear(6, 10))  # fmt: skip
        net[2].weight.requires_grad_(False)
        net[4].weight.requires_grad_(False)
        return net

    mine, debug = (engine(one, made) for one in (name, "debug"))
    rows = [np.arange(layer.rows) % 3 == 0 for layer in mine.layout.layers[:-1]]
    found, wanted = (reports(one, backward=Backward((*rows, None))) for one in (mine, debug))
    for one, other in zip(found, wanted, strict=True):
        close(one.weights, other.weights)
