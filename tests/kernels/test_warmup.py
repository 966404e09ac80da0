"""After a warm-up, training with the fast engine compiles nothing more."""

from collections import Counter

import numba
import numpy as np
import pytest
import torch
from torch import nn

from fedmpi import kernels
from fedmpi.kernels import first_step, update, warmup
from fedmpi.learn.fast.kernel_gradients import KernelGradients
from fedmpi.learn.gates import gated
from fedmpi.learn.layout_of import layout_of
from fedmpi.learn.models.parts import Residual
from fedmpi.learn.steps import edges_of
from fedmpi.plan import Backward, Gates

MODULES = (
    "batch_last", "activation", "channel_gates", "conv", "groups", "kept", "loss", "norm", "pool",
    "tables", "update",
)  # fmt: skip
RUNS = ("count", "edges")  # kernels of `pack` that find the runs of a mask


def compiled():
    """Return the number of compiled signatures of each kernel, those of inner kernels too."""
    modules = [getattr(kernels, name) for name in MODULES]
    return {
        f"{module.__name__}.{name}": len(kernel.signatures)
        for module in modules
        for name, kernel in vars(module).items()
        if hasattr(kernel, "signatures")
    } | {name: len(getattr(kernels.pack, name).signatures) for name in RUNS}


def of_constants():
    """Return the kernels that were compiled for a constant that another kernel calls them with."""
    modules = [getattr(kernels, name) for name in MODULES]
    return [kernel for module in modules for kernel in vars(module).values()
            if "Literal" in str(getattr(kernel, "signatures", ""))]


def network():
    body = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2, 1), Residual(body, nn.Identity()),
        nn.AvgPool2d(2), nn.Flatten(), nn.LayerNorm(12),
        nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 4), nn.Tanh(),
    )  # fmt: skip


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NUMBA_DISABLE_JIT=1: nothing is compiled")
def test_nothing_is_compiled_after_the_warm_up():
    torch.set_num_threads(1)
    warmup.warm()
    before = compiled()
    assert all(number for name, number in before.items() if "._" not in name), before
    module = gated(network(), Gates(0.5), 1)
    layout = layout_of(module, np.zeros((1, 1, 8, 8), np.float32))
    engine = KernelGradients.of(module, layout, (1, 8, 8))
    x, y = np.ones((5, 1, 8, 8), np.float32), np.arange(5) % 4
    activations = [np.zeros(layer.rows) for layer in layout.layers]
    engine.gradient(engine.weights, x, y, engine.grad, activations=activations)
    rows = tuple(np.arange(layer.rows) < 2 for layer in layout.layers[:-1])
    engine.gradient(engine.weights, x, y, engine.grad, Backward((*rows, None)))
    mask = (np.arange(layout.size) % 20 == 0).astype(np.uint8)
    engine.gradient(engine.weights, x, y, engine.grad, Backward(mask=mask, update=mask))
    engine.outputs(engine.weights, x)
    for error in ("softmax-quadratic", "sigmoid-linear", "mse", "bce"):
        targets = y if "-" in error else np.ones((5, 4), np.float32)
        engine.gradient(engine.weights, x, targets, engine.grad, error=error)
    first, second = np.zeros((2, layout.size), np.float32)
    mask, lr = np.ones(layout.size, np.uint8), np.float32(0.1)
    edges = edges_of(mask)
    update.sgd(engine.weights, engine.grad, first, first, mask, edges, lr, 0.9, 0.0, 0.0)
    update.adam(engine.weights, engine.grad, first, second, first, mask, lr, 0.0, 0.0, 2)
    assert compiled() == before and not of_constants()


def test_ranks_share_the_kernels_and_leave_none_out(monkeypatch):
    called = []
    for name in [name for name in vars(warmup) if name.startswith("_warm_")]:
        monkeypatch.setattr(warmup, name, lambda name=name: called.append(name))
    for name in ("STEP", "SUM"):
        parts = [lambda part=part: called.append(part) for part in getattr(first_step, name)]
        monkeypatch.setattr(first_step, name, tuple(parts))
    found = []
    for ranks in (1, 3):
        for rank in range(ranks):
            warmup.warm(rank, ranks)
            warmup.warm_sums(rank, ranks)
        found.append(Counter(map(str, called)))
        called.clear()
    assert found[0] == found[1] and set(found[0].values()) == {1}
    assert len(found[0]) == 8 + 9
