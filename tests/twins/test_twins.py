"""Whole methods against plain float64 torch: the same weights and the same number of values.

Both sides see the same clients, batches and first weights, nothing else is shared. The distance
is the largest difference of a weight, relative to the largest weight. Rates and the like are
exact in float32; where a method cuts, the twin asserts that the cut is clear of rounding.
"""

import numba
import pytest

from tests.twins import (
    adp,
    averages,
    fedlp,
    fedmp,
    fedpm,
    fedrts,
    fedsgc,
    fedskel,
    fedtiny,
    feedback,
    flash,
    masks,
    personal,
    personal_masks,
    skeleton,
    widths,
)  # fmt: skip
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
NINE = {"run": {"rounds": 9}}
LEVELS = {"model": {"name": "tests.twins.net:levels"}, "clients": {"number": 12, "per_round": 5}}
DIP = {"start": 0.5, "end": 0.625, "every": 2, "penalty": 2**-7, "steps": 4}
PRUNE = {"every": 2, "free": 0.5, "constant": 2**-6, "exchange": 2**-18, "compute": 2**-22}

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
    **{
        f"fedskel{label}": (fedskel.fedskel, {"name": "fedskel", "ratio": 0.5, **keys}, NINE)
        for label, keys in {
            "": {},
            "-global": {"cycle": "global", "updates_per_set": 2},
            "-released": {"variant": "released", "updates_per_set": 1, "layers": "conv"},
            "-local": {"linear": "local", "updates_per_set": 2},
            "-relevance": {"score": "relevance", "updates_per_set": 1},
        }.items()
    },
    "fedskel-random": (
        fedskel.fedskel,
        {"name": "fedskel", "ratio": 0.5, "score": "random", "updates_per_set": 1},
        {"run": {"rounds": 9, "seed": 13}},
    ),
    "fedlp": (fedlp.homo, {"name": "fedlp", "p": 0.5}, {}),
    "fedlp-tensor": (fedlp.homo, {"name": "fedlp", "p": 0.5, "granularity": "tensor"}, {}),
    "fedlp-hetero": (fedlp.hetero, {"name": "fedlp-hetero", "prefer": "uniform"}, LEVELS),
    "fedlp-hetero-prefer": (
        fedlp.hetero, {"name": "fedlp-hetero", "prefer": 2, "chance": 0.25}, LEVELS
    ),
    **{
        f"feddip{label}": (feedback.feddip, {"name": "feddip", **DIP, **keys}, NINE)
        for label, keys in {
            "": {},
            "-released-order": {"regrow": "released"},
            "-feedback": {"regrow": "feedback"},
            "-pruned": {"upload": "pruned"},
            "-released-penalty": {"variant": "released"},
            "-no-penalty": {"penalty": 0.0},
            "-dense-norm": {"norm": "dense"},
        }.items()
    },
    "dpf": (feedback.dpf, {"name": "dpf", "end": 0.75, "every": 2}, NINE),
    **{
        f"static-{mask}": (
            masks.static_mask, {"name": "static-mask", "mask": mask, "sparsity": 0.5}, {}
        )
        for mask in ("snip", "synflow", "erk", "random", "magnitude")
    },
    "static-grasp": (
        masks.static_mask,
        {"name": "static-mask", "mask": "grasp", "sparsity": 0.5},
        {"run": {"seed": 13}},
    ),
    "static-snip-batches": (
        masks.static_mask,
        {"name": "static-mask", "mask": "snip", "sparsity": 0.5, "batches": 2},
        {"clients": {"batch_size": 16}},
    ),
    "static-rescaled": (
        masks.static_mask,
        {"name": "static-mask", "mask": "erk", "sparsity": 0.75, "rescale": True},
        {},
    ),
    "prunefl": (masks.prunefl, {"name": "prunefl", **PRUNE}, NINE),
    "prunefl-released": (masks.prunefl, {"name": "prunefl", "variant": "released", **PRUNE}, NINE),
    "prunefl-authors": (
        masks.prunefl,
        {"name": "prunefl", "variant": "authors", **PRUNE,
         "seconds": [2**-16, 2**-17, 2**-18, 2**-17]},
        NINE,
    ),
    "feddst": (masks.feddst, {"name": "feddst", "alpha": 0.25, "every": 3, "sparsity": 0.5}, NINE),
    "feddst-released": (
        masks.feddst,
        {
            "name": "feddst", "alpha": 0.5, "every": 3, "sparsity": 0.5, "variant": "released",
            "until": 0.5,
        },
        NINE,
    ),
    "lotteryfl": (
        masks.lotteryfl, {"name": "lotteryfl", "accuracy": 0.25, "target": 0.5},
        {"run": {"rounds": 9, "seed": 12}},
    ),
    "adp-v1": (adp.version1, {"name": "adp-v1", "ratio": 0.5}, {}),
    "adp-v1-squash": (adp.version1, {"name": "adp-v1", "ratio": 0.75, "squash": True}, {}),
    "adp-v2": (adp.version2, {"name": "adp-v2", "salient": 0.5}, {}),
    "adp-v2-released": (
        adp.version2,
        {"name": "adp-v2", "variant": "released", "threshold": 2**-5},
        {"clients": {"local_epochs": 2}},
    ),
    "heterofl": (widths.heterofl, {"name": "heterofl", "widths": [1.0, 0.5, 0.25]}, NINE),
    "fedrolex": (widths.fedrolex, {"name": "fedrolex", "widths": [0.75, 0.5]}, NINE),
    "federated-dropout": (
        widths.federated_dropout, {"name": "federated-dropout", "widths": [0.75]}, {}
    ),
    "fiarse": (personal_masks.fiarse, {"name": "fiarse", "shares": [1.0, 0.5]}, {}),
    "fiarse-held": (
        personal_masks.fiarse, {"name": "fiarse", "shares": [0.5], "gradient": "held"},
        {"run": {"rounds": 3}},
    ),
    "sub-fedavg": (
        personal_masks.sub_fedavg,
        {"name": "sub-fedavg", "accuracy": 0.25, "rate": 0.25, "target": 0.5, "distance": 0.03125},
        NINE,
    ),
    "zerofl": (personal_masks.zerofl, {"name": "zerofl", "sparsity": 0.75, "more": 0.125}, {}),
    "zerofl-weights": (
        personal_masks.zerofl,
        {"name": "zerofl", "sparsity": 0.5, "more": 0.25, "by": "weights"},
        {},
    ),
    "sparsyfed": (
        personal_masks.sparsyfed, {"name": "sparsyfed", "sparsity": 0.75}, {"run": {"rounds": 4}}
    ),
    "fedspa": (
        personal_masks.fedspa,
        {"name": "fedspa", "alpha": 0.25, "sparsity": 0.375},
        {"run": {"rounds": 4, "seed": 1}, "clients": {"per_round": 3, "number": 4}},
    ),
    "fedmp": (
        fedmp.fedmp,
        {"name": "fedmp", "ratios": [0.0, 0.25, 0.5]},
        {"run": {"rounds": 7}, "clients": {"number": 3, "per_round": 2},
         "devices": {"profile": "mobile"}},
    ),
    "fedpm": (fedpm.fedpm, {"name": "fedpm", "reset": 2, "values": "drawn"}, {}),
    "fedrts": (
        fedrts.fedrts,
        {"name": "fedrts", "sparsity": 0.5, "every": 2, "until": 0.9},
        {"run": {"rounds": 6}},
    ),
    "fedsgc": (
        fedsgc.fedsgc,
        {"name": "fedsgc", "sparsity": 0.5, "every": 2, "until": 0.9, "opposed": 0.75},
        {"run": {"rounds": 6}},
    ),
    **{
        f"fedtiny{label}": (
            fedtiny.fedtiny,
            {"name": "fedtiny", "sparsity": 0.5, "every": 2, "until": 0.9, **keys},
            {"run": {"rounds": 7}},
        )
        for label, keys in {"": {"candidates": 2}, "-first": {"candidates": 1}}.items()
    },
    "fedmef": (
        fedtiny.fedtiny,
        {"name": "fedmef", "sparsity": 0.5, "every": 2, "until": 0.9, "penalty": 2**-5},
        {"run": {"rounds": 5}},
    ),
    "flash": (
        flash.flash,
        {"name": "flash", "sparsity": 0.5, "warmup": 3, "every": 2, "shares": [1.0, 0.5]},
        {"run": {"rounds": 4}},
    ),
    "flash-fixed": (
        flash.flash,
        {"name": "flash", "sparsity": 0.75, "warmup": 4, "masks": "fixed", "mean": "holders"},
        {"run": {"rounds": 2}},
    ),
    "heterofl-complete": (
        widths.complete,
        {"name": "heterofl-complete", "widths": [1.0, 0.5, 0.25], "clip": 0.5, "dynamic": True},
        {"clients": {"weighting": "uniform"}},
    ),
    "fedrolex-complete": (
        widths.fedrolex_complete,
        {"name": "fedrolex-complete", "widths": [1.0, 0.5, 0.25], "clip": 0.5},
        {"clients": {"weighting": "uniform"}, "run": {"rounds": 5}},
    ),
    "prunetrain": (
        widths.prunetrain, {"name": "prunetrain", "every": 3, "threshold": 0.25}, NINE
    ),
    "skeletonization": (
        skeleton.skeletonization, {"name": "skeletonization", "criterion": 100.0}, NINE
    ),
    "fedbn": (personal.fedbn, {"name": "fedbn"}, {}),
    "fedbn-statistics": (personal.fedbn, {"name": "fedbn", "private": "statistics"}, {}),
    "lg-fedavg": (personal.lg_fedavg, {"name": "lg-fedavg", "warmup": 2}, {}),
    "lg-fedavg-first": (personal.lg_fedavg, {"name": "lg-fedavg", "side": "first"}, {}),
    "fedmtl": (personal.fedmtl, {"name": "fedmtl", "strength": 2**-6}, {}),
}  # fmt: skip


def merged(more):
    """Return TREE with the keys of `more` in its sections."""
    return TREE | {name: TREE.get(name, {}) | keys for name, keys in more.items()}


def distance(trial, w):
    """Return max |w - w_run| / max |w|, w_run the weights of the real run."""
    return ((w - trial.net.vector(trial.run.model())).abs().max() / w.abs().max()).item()


def check(case, trainer, folder):
    """Run a case with both; compare weights and the values sent."""
    twin, keys, more = CASES[case]
    tree = merged(more | {"algorithm": keys})
    tree["run"] = tree["run"] | {"trainer": trainer}
    trial = Trial(tree, folder / "out.h5")
    assert distance(trial, twin(trial)) < BOUND
    layers = trial.run.layers
    assert layers.bytes_up.sum(axis=1).tolist() == [4 * n for n in trial.sent["up"]]
    assert layers.bytes_down.sum(axis=1).tolist() == [4 * n for n in trial.sent["down"]]


@pytest.mark.parametrize("case", CASES)
def test_a_method_does_what_its_twin_does(case, tmp_path):
    check(case, TRAINER, tmp_path)


@pytest.mark.parametrize("case", [
    "fedavg", "fedskel", "feddip", "adp-v1", "adp-v1-squash", "adp-v2", "feddst", "prunetrain",
])  # fmt: skip
def test_so_it_does_with_the_engine_of_torch(case, tmp_path):
    check(case, "torch", tmp_path)


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "fednova", "scaffold"])
def test_dense_training_costs_what_is_counted_by_hand(name, tmp_path):
    trial = Trial(merged({"algorithm": {"name": name}, "run": {"rounds": 2}}), tmp_path / "out.h5")
    conv1, conv2, fc1, fc2 = 4 * 9 * 64, 6 * 4 * 9 * 4, 24 * 8, 8 * 10
    # Two operations for each multiply-add, in three passes; no gradient of the pixels.
    of_a_sample = 2 * (3 * (conv1 + conv2 + fc1 + fc2) - conv1)
    for number, flops in enumerate(trial.run.rounds.flops):
        samples = sum(len(trial.data(client)[1]) for client, _ in trial.cohort(number))
        assert flops == samples * of_a_sample


def test_adam_does_what_torch_does(tmp_path):
    # Adam divides by the size of a gradient, so that the smallest ones carry their rounding. In
    # float64 the twin has none; in float32 it would have its own, another on each processor.
    more = {
        "model": {"name": "mlp", "hidden": [16, 12]},
        "optimizer": {"name": "adam", "lr": 2**-8, "momentum": 0.0},
        "run": {"rounds": 4},
    }
    trial = Trial(merged(more), tmp_path / "out.h5")
    assert distance(trial, averages.fedavg_adam(trial)) < BOUND
