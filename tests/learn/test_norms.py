"""Normalisations with and without scale, shift and statistics, against the debug engine."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.learn.test_any_model import close, engine, reports


def after_linear(**how):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6, **how), nn.ReLU(), nn.Linear(6, 10)
    )


def at_the_end():
    """All that is trained is below a layer whose output is 0 for a batch of one sample."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10, affine=False))


def moved_in_place():
    """InstanceNorm changes its statistics in place, which autograd counts; BatchNorm does not."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3),
        nn.InstanceNorm2d(2, track_running_stats=True), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


BUILD = {
    "all": after_linear,
    "no shift": lambda: after_linear(bias=False),
    "no scale and shift": lambda: after_linear(affine=False),
    "at the end": at_the_end,
    "moved in place": moved_in_place,
}


def made(name, kind="all"):
    """The last batch of the first client, and the only one of the second, has one sample."""

    def make():
        torch.manual_seed(4)
        return BUILD[kind]()

    return engine(name, make, (9, 1))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("kernels", "all"), *((name, kind) for name in ("torch", "batched") for kind in BUILD)],
)
def test_batches_are_normalised_as_by_the_debug_engine(name, kind):
    for found, wanted in zip(reports(made(name, kind)), reports(made("debug", kind)), strict=True):
        close(found.weights, wanted.weights)


@pytest.mark.parametrize("name", ["kernels", "torch", "batched"])
def test_what_is_below_a_norm_of_one_sample_is_measured_as_by_the_debug_engine(name):
    asked = {"statistics": ("relevance", "columns")}
    wanted = reports(made("debug"), **asked)
    for one, other in zip(reports(made(name), **asked), wanted, strict=True):
        for what, values in other.statistics.items():
            close(np.concatenate(one.statistics[what]), np.concatenate(values))


def test_one_sample_is_trained_through_many_norms():
    """Lanes without a sample became infinite, and the gradient NaN."""

    def make():
        torch.manual_seed(4)
        deep = [layer for _ in range(24) for layer in (nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))]
        return nn.Sequential(
            nn.Conv2d(1, 4, 8), nn.BatchNorm2d(4), *deep, nn.Flatten(), nn.Linear(4, 10)
        )

    found, wanted = (reports(engine(name, make, (1, 1))) for name in ("kernels", "debug"))
    close(found[0].weights, wanted[0].weights)


@pytest.mark.parametrize("name", ["kernels", "torch", "batched"])
def test_a_mask_on_statistics_is_put_on_in_every_step(name):
    """Also where the optimiser moves nothing that is pruned, and all that is pruned starts at 0."""
    found, wanted = made(name), made("debug")
    mask = (np.arange(found.layout.size) % 3 > 0).astype(np.uint8)
    told = {"mask": mask, "update": mask, "start": mask * found.initial_weights}
    for one, other in zip(reports(found, **told), reports(wanted, **told), strict=True):
        close(one.weights, other.weights)
