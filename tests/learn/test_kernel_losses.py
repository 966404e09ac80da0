"""Every loss on the kernels against torch autograd, and against the torch engine."""

import sys

import numba
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import fedmpi
from fedmpi.exchange import Job
from fedmpi.layout import Support
from fedmpi.learn.draws import Draws
from fedmpi.learn.engine import ClientData
from fedmpi.learn.engines import engine_for
from fedmpi.learn.fast import batch_loss
from fedmpi.learn.fast.chain import Unsupported
from fedmpi.learn.fast.kernel_gradients import KernelGradients
from fedmpi.learn.layout_of import layout_of
from fedmpi.learn.local import Local
from fedmpi.learn.losses import LOSSES, loss_of, mean_loss
from fedmpi.learn.partitions.partition import Partition
from fedmpi.learn.sample_arrays import Samples
from fedmpi.learn.torch_gradients import TorchGradients
from fedmpi.plan import Plan

HERE = "tests.learn.test_kernel_losses:"
NAMED = [name for name, found in LOSSES.items() if found.target != "tokens" and ":" not in name]


@fedmpi.loss
def focal(outputs, targets):
    """A cross-entropy that counts unsure samples more, and writes to its argument."""
    outputs -= 1
    each = functional.cross_entropy(outputs, targets, reduction="none")
    return ((1 - torch.exp(-each)) ** 2 * each).mean()


@fedmpi.loss(target="numbers")
def noisy(outputs, targets):
    """Huber's loss of half of the numbers; each pass draws another half."""
    return functional.huber_loss(functional.dropout(outputs - targets, 0.5), 0 * targets)


def drawn(target, count, outputs=4):
    """Return targets of `count` samples."""
    rng = np.random.default_rng(count)
    if target == "class":
        return rng.integers(0, outputs, count)
    found = rng.standard_normal((count, outputs)).astype(np.float32)
    return (found > 0).astype(np.float32) if target == "labels" else found


def small():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 9), nn.ReLU(),
            nn.Linear(9, 4),
        )  # fmt: skip


def both(module=small, shape=(1, 6, 6)):
    """Return the KernelGradients and the TorchGradients of a module."""
    layout = layout_of(module(), np.zeros((1, *shape), np.float32))
    kernels = KernelGradients.of(module(), layout, shape)
    return kernels, TorchGradients(module(), layout)


@pytest.mark.parametrize("labels", [None, np.array([True, False, True, True])])
@pytest.mark.parametrize("count", [3, 16, 21])
@pytest.mark.parametrize("error", [*NAMED, HERE + "focal", HERE + "noisy"])
def test_the_gradient_of_every_loss_is_that_of_autograd(error, count, labels):
    kernels, other = both()
    kernels.gradient(kernels.weights, *batch("class", 21), kernels.grad)  # leaves values in lanes
    x, y = batch(loss_of(error).target, count)
    for made in (kernels, other):
        made.begin(Draws(1, 2, 3))
    for _ in range(2):  # the second pass draws other numbers
        told = [made.gradient(made.weights, x, y, made.grad, error=error, labels=labels)
                for made in (kernels, other)]  # fmt: skip
        assert told[0] == pytest.approx(told[1], rel=1e-5)
        scale = abs(other.grad).max()
        np.testing.assert_allclose(kernels.grad, other.grad, rtol=1e-4, atol=2e-5 * scale)


def batch(target, count):
    x = np.random.default_rng(count).standard_normal((count, 1, 6, 6)).astype(np.float32)
    return x, drawn(target, count)


@pytest.mark.parametrize("error", NAMED)
def test_a_loss_of_a_test_is_that_of_torch(error, monkeypatch):
    outputs = (8 * np.random.default_rng(2).standard_normal((40, 5))).astype(np.float32)
    y = drawn(loss_of(error).target, 40, 5)
    outputs[:2] = [[90, -90, 0, 0, 0], [-800, 0, 0, 0, 800]]
    wanted = loss_of(error)(torch.from_numpy(outputs).double(), torch.from_numpy(y)).item()
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it would fail
    assert mean_loss(error, outputs, y) == pytest.approx(wanted, rel=1e-12)


def test_a_loss_that_has_no_kernel_yet_is_differentiated_by_torch(monkeypatch):
    monkeypatch.setattr(batch_loss, "_KERNELS", {})
    kernels, other = both()
    told = [made.gradient(made.weights, *batch("class", 5), made.grad) for made in (kernels, other)]
    assert told[0] == pytest.approx(told[1], rel=1e-5)
    np.testing.assert_allclose(kernels.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_a_loss_of_tokens_has_no_kernel():
    kernels, _ = both()
    with pytest.raises(ValueError, match="cannot compute the error next-token"):
        kernels.gradient(kernels.weights, *batch("class", 3), kernels.grad, error="next-token")


@pytest.mark.parametrize("end", [nn.Conv2d(1, 4, 6), nn.AdaptiveAvgPool2d(1)])
def test_outputs_with_more_axes_than_their_targets_are_left_to_torch(end):
    """Else torch would broadcast them where it trains a part of the model."""
    module = nn.Sequential(nn.Conv2d(1, 1, 1), end)
    layout = layout_of(module, np.zeros((1, 1, 6, 6), np.float32))
    with pytest.raises(Unsupported, match="not a plain vector"):
        KernelGradients.of(module, layout, (1, 6, 6))
    flat = nn.Sequential(*module, nn.Flatten())
    assert KernelGradients.of(flat, layout_of(flat, np.zeros((1, 1, 6, 6), "f4")), (1, 6, 6))


def engine(name, loss):
    """Return an engine for two clients of 17 and 5 samples with targets that fit the loss."""
    x, y = batch(loss_of(loss).target, 22)
    partition = Partition(np.arange(22), np.array([0, 17, 22]))
    local = Local(epochs=2, steps=None, batch_size=7, optimizer="sgd", lr=0.1, lr_decay=1.0,
                  momentum=0.5, weight_decay=0.0)  # fmt: skip
    data = ClientData(Samples(x, y), partition, local, seed=11, loss=loss)
    return engine_for(lambda options: small(), x[:1], data, name)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NUMBA_DISABLE_JIT=1: it would take long")
@pytest.mark.parametrize("loss", [*NAMED, HERE + "focal", HERE + "noisy"])
def test_clients_train_with_every_loss_as_with_torch(loss, monkeypatch):
    """The kernels need torch for losses of users' code alone."""
    made = [engine(name, loss) for name in ("auto", "kernels", "torch")]
    assert [one.name for one in made] == ["kernels", "kernels", "torch"]
    whole = Support.all(made[0].layout)
    found = []
    for one in made:
        if one.name == "kernels" and ":" not in loss:
            monkeypatch.setitem(sys.modules, "torch", None)  # an import of it would fail
        state = {"weights": one.initial_weights}
        jobs = [Job(client, 1, state, Plan(whole, whole), 0.5) for client in (0, 1)]
        found.append(list(one.train(jobs)))
        monkeypatch.undo()
    for auto, mine, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(auto.weights, mine.weights)
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-5)
        np.testing.assert_allclose(mine.weights, theirs.weights, rtol=1e-4, atol=1e-5)
        assert np.abs(mine.weights - made[0].initial_weights).max() > 1e-2
