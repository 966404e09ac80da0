"""Small networks that hold every kind of layer that there are kernels for."""

import torch
from torch import nn

from fedmpi.learn.gates import gated
from fedmpi.learn.models.parts import Residual, Subsample
from fedmpi.plan import Gates

NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm


def seeded(build):
    """Return a module built from torch's generator in a fixed state, with BatchNorms stirred up."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = build()
        for part in module.modules():
            if isinstance(part, NORMS):
                nn.init.uniform_(part.weight, 0.5, 2)
                nn.init.normal_(part.bias)
            if hasattr(part, "running_mean"):
                nn.init.normal_(part.running_mean)
    return module


def small_cnn():
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(5, 7, 3, bias=False), nn.BatchNorm2d(7), nn.ReLU(), nn.AvgPool2d(2, padding=1),
        nn.Flatten(), nn.Linear(28, 9), nn.ReLU(), nn.Linear(9, 4),
    )  # fmt: skip


def norm_after_relu():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(6), nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 3, padding=2, stride=2), nn.ReLU(), nn.BatchNorm2d(4),
        nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4),
    )  # fmt: skip


def residual():
    def block(inputs, outputs, stride, around):
        body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs),
            nn.ReLU(), nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        return Residual(body, around)

    projection = nn.Sequential(nn.Conv2d(6, 8, 1, 2, bias=False), nn.BatchNorm2d(8))
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), block(4, 4, 1, nn.Identity()),
        block(4, 6, 2, Subsample(2, 2)), block(6, 8, 2, projection),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip


def group_residual():
    body = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.GroupNorm(2, 4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(4, 4),
    )  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), Residual(body, nn.Identity()),
        Residual(nn.Sequential(nn.GroupNorm(2, 4)), nn.Identity()), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 4),
    )  # fmt: skip


def with_gates(build, *gates):
    """Return a function that builds a network with channel gates."""
    return lambda: gated(build(), Gates(*gates), 1)


def one_channel():
    return nn.Sequential(
        nn.Conv2d(2, 1, 3), nn.ReLU(), nn.Conv2d(1, 3, 3, 2), nn.BatchNorm2d(3), nn.MaxPool2d(2),
        nn.ReLU(), nn.Conv2d(3, 20, 1), nn.Conv2d(20, 17, 1), nn.Flatten(), nn.Linear(17, 4),
    )  # fmt: skip


MODELS = {
    "cnn": small_cnn,
    "norm after ReLU": norm_after_relu,
    "residual": residual,
    "norm first": lambda: nn.Sequential(
        nn.BatchNorm2d(2),
        nn.Conv2d(2, 3, 4, 3),
        nn.MaxPool2d(2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3, 4),
    ),
    "pool first": lambda: nn.Sequential(
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(2, 3, 3, padding=1),
        nn.AvgPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12, 20),
        nn.Linear(20, 4),
    ),
    "groups": lambda: nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.GroupNorm(3, 6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 3), nn.ReLU(), nn.GroupNorm(1, 4), nn.Flatten(), nn.LayerNorm(16),
        nn.Linear(16, 8), nn.LayerNorm(8, eps=1e-3), nn.ReLU(), nn.Linear(8, 4),
    ),
    "layer norm first": lambda: nn.Sequential(
        nn.LayerNorm((2, 8, 8)), nn.Conv2d(2, 4, 3, 2), nn.LayerNorm((4, 3, 3)), nn.ReLU(),
        nn.Flatten(), nn.Linear(36, 4),
    ),
    "groups in a residual": group_residual,
    "input read twice": lambda: nn.Sequential(
        Residual(
            nn.Sequential(nn.Conv2d(2, 3, 3, 2, padding=1), nn.Flatten(), nn.Linear(48, 128)),
            nn.Flatten(),
        ),
        nn.Linear(128, 4),
    ),
    "sum read as a vector": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(),
        Residual(nn.Conv2d(3, 3, 3, padding=1), nn.Identity()), nn.Flatten(), nn.Linear(192, 4),
    ),
    "activation": lambda: nn.Sequential(
        nn.Tanh(), nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.ReLU(),
        Residual(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Sigmoid()), nn.Tanh()),
        nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(), nn.Tanh(), nn.Linear(48, 7), nn.ReLU(),
        nn.Tanh(), nn.Linear(7, 4), nn.Sigmoid(),
    ),
    "gated": with_gates(small_cnn, 0.6),
    "gated after ReLU": with_gates(norm_after_relu, 0.5, True),
    "gated residual": with_gates(residual, 0.5, True, False),
    "gated groups": with_gates(group_residual, 0.7),
    "one gate": with_gates(one_channel, 0.3),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 5), nn.ReLU(), nn.Linear(5, 4)),
}
