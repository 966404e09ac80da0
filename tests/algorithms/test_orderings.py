"""Rankings of methods that the papers report, on small data.

Means over three seeds; a network of one hidden layer or a tiny CNN on real digits.
"""

from functools import lru_cache

import numba
import numpy as np
import pytest

from tests.algorithms.problem import simulate

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="hours without kernels")
MLP = ("model.name=mlp", "model.hidden=[100]")
CNN = ("model.name=tests.algorithms.problem:convs",)
LEVELS = ("model.name=tests.twins.net:levels",)
SETTINGS = (
    "run.rounds=30", "run.eval_every=3", "clients.local_steps=15", "clients.per_round=6",
    "optimizer.lr=0.1", "optimizer.weight_decay=0.0",
)  # fmt: skip
IID, SKEWED = ("data.alpha=1000.0",), ("data.alpha=0.1",)


@lru_cache
def accuracy(name, model, more=(), **keys):
    """Return the mean over three seeds and the last four evaluations."""
    found = []
    for seed in (1, 2, 3):
        settings = (*SETTINGS, *model, *more, f"run.seed={seed}")
        _, rows = simulate(name, settings, **keys)
        seen = [row.columns["test_accuracy"] for row in rows]
        found.append(np.mean([one for one in seen if np.isfinite(one)][-4:]))
    return np.mean(found)


@pytest.mark.parametrize("more", [IID, pytest.param(SKEWED, marks=pytest.mark.soak)])
def test_fedlp_gains_with_every_layer_kept(more):
    found = [accuracy("fedlp", CNN, more, p=p) for p in (0.1, 0.3, 0.7)]
    found.append(accuracy("fedavg", CNN, more))
    assert found == sorted(found)
    assert found[0] < found[-1] - 0.1


def test_fedlp_at_half_is_near_fedavg_where_data_are_alike():
    assert accuracy("fedlp", MLP, IID, p=0.5) > accuracy("fedavg", MLP, IID) - 0.02


def test_deeper_clients_are_better_in_fedlp_hetero():
    found = [accuracy("fedlp-hetero", LEVELS, IID, prefer=p) for p in (1, "uniform", 5)]
    assert found == sorted(found) and found[2] > found[0] + 0.1


def at_sparsity(sparsity):
    """Return the accuracies of FedAvg, FedDIP, FedDIP without penalty, SNIP's and ERK's masks."""
    keys = {"start": 0.5, "end": sparsity}
    methods = [("fedavg", {}), ("feddip", keys), ("feddip", keys | {"penalty": 0.0})]
    masks = [("static-mask", {"mask": m, "sparsity": sparsity}) for m in ("snip", "erk")]
    return [accuracy(name, MLP, **k) for name, k in (*methods, *masks)]


def test_feddip_lies_between_fedavg_and_static_masks():
    dense, dip, dp, snip, erk = at_sparsity(0.95)
    assert dense > max(dip, dp) and min(dip, dp) > snip > erk
    assert dip > dp - 0.01  # the penalty does no harm


@pytest.mark.soak
def test_feddip_and_static_masks_are_nearer_to_fedavg_where_less_is_pruned():
    """The test above has the order itself."""
    dense, dip, _, snip, erk = at_sparsity(0.95)
    _, dip8, _, snip8, erk8 = at_sparsity(0.8)
    assert dip8 - erk8 < dip - erk and dip8 - snip8 < dip - snip and dense - dip8 < dense - dip


def test_fedskel_loses_little_with_half_of_the_filters():
    whole = accuracy("fedavg", MLP)
    half, quarter = (accuracy("fedskel", MLP, ratio=r) for r in (0.5, 0.25))
    assert whole > half > quarter > whole - 0.08
    assert half > whole - 0.04


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("fedavg", {}), pytest.param("fedskel", {"ratio": 0.5}, marks=pytest.mark.soak),
        pytest.param("scaffold", {}, marks=pytest.mark.soak),
        pytest.param("adp-v2", {"salient": 0.5}, marks=pytest.mark.soak),
    ],
)
def test_more_skew_lowers_all(name, keys):
    even, skewed = (accuracy(name, CNN, more, **keys) for more in (IID, SKEWED))
    assert skewed < even - 0.05


def test_scaffold_is_ahead_where_labels_are_skewed():
    assert accuracy("scaffold", MLP, SKEWED) > accuracy("fedavg", MLP, SKEWED)
