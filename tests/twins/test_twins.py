"""Whole methods against plain float64 torch: the same weights and the same number of values.

Both sides see the same clients, batches and first weights, nothing else is shared. The distance
is the largest difference of a weight, relative to the largest weight. Rates and the like are
exact in float32; where a method cuts, the twin asserts that the cut is clear of rounding.
"""

import numba
import pytest
import torch

from tests.twins import averages
from tests.twins.adapter import Trial

BOUND = 5e-7
TRAINER = "torch" if numba.config.DISABLE_JIT else "numba"
TREE = {
    "run": {"rounds": 6, "seed": 11, "eval_every": 100, "trainer": TRAINER},
    "data": {"name": "digits", "partition": "dirichlet", "alpha": 1.0},
    "clients": {"number": 8, "per_round": 4, "local_epochs": 1, "batch_size": 64},
    "model": {"name": "tests.twins.net:small"},
    "optimizer": {"lr": 0.125, "momentum": 0.5, "weight_decay": 2**-10},
}

CASES = {
    "fedavg": (averages.fedavg, {"name": "fedavg"}, {}),
    "fedavg-uniform-decay": (
        averages.fedavg,
        {"name": "fedavg"},
        {"clients": {"weighting": "uniform", "local_epochs": 2}, "optimizer": {"lr_decay": 0.75}},
    ),
    "fedprox": (averages.fedprox, {"name": "fedprox", "mu": 0.25}, {}),
    "fednova": (averages.fednova, {"name": "fednova"}, {}),
    "scaffold": (averages.scaffold, {"name": "scaffold"}, {"optimizer": {"momentum": 0.0}}),
    "scaffold-released": (averages.scaffold, {"name": "scaffold", "variant": "released"}, {}),
    "topk": (averages.topk, {"name": "topk", "share": 0.25}, {}),
    "topk-without-feedback": (
        averages.topk, {"name": "topk", "share": 0.25, "feedback": False}, {}
    ),
}  # fmt: skip


def merged(more):
    """Return TREE with the keys of `more` in its sections."""
    return TREE | {name: TREE.get(name, {}) | keys for name, keys in more.items()}


def distance(trial, w):
    """Return max |w - w_run| / max |w|, w_run the weights of the real run."""
    return ((w - trial.net.vector(trial.run.model())).abs().max() / w.abs().max()).item()


@pytest.mark.parametrize("case", CASES)
def test_a_method_does_what_its_twin_does(case, tmp_path):
    twin, keys, more = CASES[case]
    trial = Trial(merged(more | {"algorithm": keys}), tmp_path / "out.h5")
    assert distance(trial, twin(trial)) < BOUND
    layers = trial.run.layers
    assert layers.bytes_up.sum(axis=1).tolist() == [4 * n for n in trial.sent["up"]]
    assert layers.bytes_down.sum(axis=1).tolist() == [4 * n for n in trial.sent["down"]]
