"""Adapters: their layout, their algebra, and methods that leave out components."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fedmpi import flops
from fedmpi.errors import ConfigError
from fedmpi.learn.layout_of import layout_of
from fedmpi.learn.lora import Lora, adapt
from fedmpi.learn.models import build
from fedmpi.model_section import AdapterSection as Adapter
from fedmpi.plan import Backward, Submodel
from tests.algorithms.problem import experiment, simulate
from tests.learn.test_any_model import SAMPLE, close, engine, reports

VIT = {"width": 16, "depth": 2, "heads": 2, "patch": 4}
ADAPTER = Adapter(rank=4, targets=("*.attn.*",), alpha=8.0)
RANK, WIDTH = 4, 16
TRAINED = 2 * (RANK * (WIDTH + 3 * WIDTH) + RANK * (WIDTH + WIDTH))


def vit(adapter=ADAPTER):
    module = build("vit-tiny", (1, 8, 8), 10, VIT, 0)
    if adapter is not None:
        adapt(module, adapter, 5)
    return module


def stirred(adapter=ADAPTER):
    """Return an adapted module whose adapters change something."""
    module = vit(adapter)
    rng = np.random.default_rng(2)
    for name, values in module.named_parameters():
        if name.endswith("up.weight"):
            values.data += torch.tensor(rng.standard_normal(values.shape), dtype=torch.float32)
    return module


def test_components_are_rows_and_all_else_is_constant():
    module = vit()
    layout = layout_of(module, SAMPLE)
    assert [(a.kind, a.rows) for a in layout.layers] == [("adapter", RANK)] * 4
    assert layout.size == TRAINED and all(t.rows == RANK for t in layout.tensors)
    assert layout.names[:2] == ("block1.attn.qkv.down.weight", "block1.attn.qkv.up.weight")
    assert layout.starts("row").size == 8 * RANK + 1
    with torch.no_grad():
        assert torch.equal(module(torch.from_numpy(SAMPLE)), vit(None)(torch.from_numpy(SAMPLE)))
    kept = Adapter(targets=("block2.attn.out",), trained=("head.*",))
    assert [a.name for a in layout_of(vit(kept), SAMPLE).layers] == ["block2.attn.out.down", "head"]


def test_flops_are_those_of_torchs_counter():
    module = stirred()
    layout = layout_of(module, SAMPLE)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(torch.from_numpy(SAMPLE)).sum().backward()
    assert flops.count(layout).sum() == counter.get_total_flops()


def test_an_adapter_adds_a_sum_over_components():
    module = stirred()
    layer = module.block1.attn.qkv
    x = torch.randn(3, 5, WIDTH)
    expected = layer.base(x)
    for r in range(RANK):
        expected = expected + 2.0 * (x @ layer.down.weight[r])[..., None] * layer.up.weight[r]
    close(layer(x).detach().numpy(), expected.detach().numpy())


def test_components_that_are_left_out_stay_as_in_the_debug_engine():
    mine, debug = (engine(name, stirred) for name in ("torch", "debug"))
    rows = tuple(np.arange(RANK) % 2 == number % 2 for number in range(4))
    for plan in (
        {"backward": Backward(rows)},
        {"backward": Backward(lowest=2)},
        {"statistics": ("activations", "relevance")},
    ):
        for one, other in zip(reports(mine, **plan), reports(debug, **plan), strict=True):
            close(one.weights, other.weights)
            for name, values in one.statistics.items():
                close(np.concatenate(values), np.concatenate(other.statistics[name]))
    (report, _) = reports(mine, backward=Backward(rows))
    moved = (report.weights != mine.initial_weights).reshape(-1)
    for tensor in mine.layout.tensors:
        block = moved[tensor.start : tensor.start + tensor.size].reshape(RANK, -1)
        assert np.array_equal(block.any(axis=1), rows[tensor.layer])


def test_a_smaller_rank_is_the_model_without_some_components():
    made = engine("torch", stirred)
    kept = tuple(np.arange(RANK) < 2 for _ in range(4))
    part = Submodel.of_rows(kept)
    network, weights = made.networks.of(part), made.initial_weights.copy()
    assert network.layout.size == TRAINED // 2
    x, _ = made.data.samples.take(np.arange(6))
    found = network.backend.outputs(network.enter(weights, None), x)
    for tensor in made.layout.tensors:
        weights[tensor.start : tensor.start + tensor.size].reshape(RANK, -1)[2:] = 0
    close(found, made.outputs(weights, x))


MODEL = (
    "model.name=vit-tiny", "model.width=16", "model.depth=1", "model.heads=2", "run.engine=torch",
    'model.adapter={rank=4, targets=["*.attn.*", "*.mlp.*"]}', "run.rounds=2",
)  # fmt: skip
METHODS = {
    "fedskel": {"updates_per_set": 1, "ratio": 0.5},
    "fedlp": {"p": 0.5},
    "topk": {"share": 0.1},
    "heterofl": {"widths": [0.5, 0.25]},
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_work_on_components(name):
    whole = 4 * experiment("fedavg", MODEL).layout.size
    run, rows = simulate(name, MODEL, **METHODS[name])
    assert (run.state["weights"] != run.experiment.weights).any()
    sent = rows[-1].columns["bytes_up"] / rows[-1].columns["clients_completed"]
    assert 0.05 * whole < sent < 0.9 * whole
    if name == "heterofl":
        layout = run.experiment.layout
        moved = run.state["weights"] != run.experiment.weights
        for tensor in layout.tensors:
            block = moved[tensor.start : tensor.start + tensor.size].reshape(tensor.rows, -1)
            assert not block[2:].any()  # no client holds more than two of four components


def test_patterns_that_name_nothing_are_told():
    with pytest.raises(ConfigError, match=r"model.adapter.targets = '\*.atn.\*': names no linear"):
        vit(Adapter(targets=("*.atn.*",)))
    with pytest.raises(ConfigError, match=r"adapter.trained = 'haed.\*': names no parameter"):
        vit(Adapter(targets=("head",), trained=("haed.*",)))


def test_the_built_in_transformers():
    parts = build("vit-tiny", (3, 32, 32), 10, {}, 0).parameters()
    assert sum(p.numel() for p in parts) == 5_362_762
    text = build("char-transformer", (12,), 30, {"every_token": True}, 0).eval()
    x = torch.arange(12)[None] % 30
    later = x.clone()
    later[0, 8:] = 29
    with torch.no_grad():
        one, other = text(x), text(later)
        last = build("char-transformer", (12,), 30, {}, 0).eval()(x)
    assert one.shape == (1, 12, 30)
    close(one[:, :8].numpy(), other[:, :8].numpy())  # no token sees later tokens
    assert not torch.allclose(one[:, 8:], other[:, 8:])
    close(last.numpy(), one[:, -1].numpy())
    for name, keys, message in (
        ("char-transformer", {"heads": 5}, "heads = 5 does not divide width = 64"),
        ("vit-tiny", {"patch": 3}, "model.patch = 3: does not divide images of 8x8"),
    ):
        shape = (12,) if name == "char-transformer" else (1, 8, 8)
        with pytest.raises(ConfigError, match=message):
            build(name, shape, 10, keys, 0)


def test_a_layer_that_is_used_under_two_names_has_one_adapter_under_both():
    """Sharing of weights by repetition, as in `nn.Sequential(*[layer] * 3)`."""
    layer = torch.nn.Linear(6, 6)
    module = torch.nn.Sequential(layer, torch.nn.Tanh(), layer, torch.nn.Linear(6, 3))
    adapt(module, Adapter(rank=2, targets=("0",)), 5)
    assert isinstance(module[0], Lora) and module[2] is module[0]
    assert type(module[3]) is torch.nn.Linear
