"""With nothing to prune every method is FedAvg, bit for bit, through the real round loop."""

import numpy as np
import pytest

from tests.algorithms.problem import experiment, fedavg, same_bits, simulate, weights_of

SAME = (
    "bytes_up", "bytes_down", "flops", "flops_inference", "test_accuracy", "local_accuracy",
)  # fmt: skip
LEVELS = "model.name=tests.twins.net:levels"
UNIFORM = "clients.weighting=uniform"
# name, keys under which it does nothing, further settings, whether bytes are the same too
CASES = [
    ("fedprox", {"mu": 0.0}, (), True),
    ("fedskel", {"ratio": 1.0, "updates_per_set": 2}, (), True),
    ("fedskel", {"ratio": 1.0, "score": "random", "layers": "conv"}, (), True),
    ("fedlp", {"p": 1.0}, (UNIFORM,), True),
    ("fedlp", {"p": 1.0, "granularity": "tensor"}, (UNIFORM,), True),
    ("fedlp-hetero", {"prefer": 5, "chance": 1.0}, (UNIFORM, LEVELS), True),
    ("adp-v2", {"variant": "released", "threshold": 0.0}, (), True),
    ("adp-v2", {"variant": "paper", "salient": 1.0}, (), True),
    ("feddip", {"start": 0.0, "end": 0.0, "penalty": 0.0}, (), True),
    ("feddip", {"start": 0.0, "end": 0.0, "penalty": 0.0, "regrow": "released"}, (), True),
    ("feddip", {"start": 0.0, "end": 0.0, "penalty": 0.0, "regrow": "feedback"}, (), True),
    ("feddip", {"start": 0.0, "end": 0.0, "penalty": 0.0, "upload": "pruned"}, (), True),
    ("dpf", {"start": 0.0, "end": 0.0}, (), False),
    ("lotteryfl", {"target": 1.0}, (), True),
    ("feddst", {"sparsity": 0.0, "every": 2, "alpha": 0.5}, (), True),
    ("prunefl", {"every": 100}, (), True),
    ("static-mask", {"sparsity": 0.0}, (), True),
    ("static-mask", {"sparsity": 0.0, "mask": "erk"}, (), True),
    ("lg-fedavg", {"shared": 99}, (), True),
    ("prunetrain", {"penalty": 0.0, "threshold": 0.0, "every": 1}, (), True),
    ("heterofl", {"widths": [1.0]}, (), True),
    ("fedrolex", {"widths": [1.0]}, (), True),
    ("federated-dropout", {"widths": [1.0]}, (), True),
    ("fiarse", {"shares": [1.0]}, (), True),
    ("sub-fedavg", {"target": 1.0}, (), True),
    ("zerofl", {"sparsity": 0.0}, (), True),
    ("fedmef", {"sparsity": 0.0, "penalty": 0.0}, (), True),
    ("fedmp", {"ratios": [0.0]}, (), False),
    ("fedrts", {"sparsity": 0.0}, (), True),
    ("fedsgc", {"sparsity": 0.0, "every": 2, "until": 1.0}, (), False),
    ("fedtiny", {"sparsity": 0.0, "candidates": 1}, (), True),
    ("sparsyfed", {"sparsity": 0.0, "beta": 1.0}, (), True),
    ("fedbn", {}, ("model.name=lenet5", "run.rounds=2"), True),
]


@pytest.mark.parametrize(("name", "keys", "settings", "bytes_too"), CASES)
def test_it_is_fedavg(name, keys, settings, bytes_too):
    if not any(word.startswith("model.name") for word in settings):
        settings = ("model.name=tests.algorithms.problem:convs", *settings)
    expected, dense = fedavg(*settings)
    found, rows = simulate(name, settings, **keys)
    assert same_bits(weights_of(found), weights_of(expected))
    if bytes_too:
        for column in SAME:
            assert [r.columns[column] for r in rows] == [r.columns[column] for r in dense], column


def test_lg_fedavg_is_fedavg_up_to_its_own_start():
    found, _ = simulate("lg-fedavg", ("run.rounds=3",), warmup=3, shared=1)
    expected, _ = fedavg("run.rounds=3", "model.name=tests.algorithms.problem:convs")
    assert same_bits(weights_of(found), weights_of(expected))


@pytest.mark.parametrize(("name", "keys"), [("fednova", {}), ("topk", {"share": 1.0})])
def test_it_is_fedavg_up_to_rounding(name, keys):
    settings = ("model.name=tests.algorithms.problem:convs",)
    found, _ = simulate(name, settings, **keys)
    np.testing.assert_allclose(weights_of(found), weights_of(fedavg(*settings)[0]), atol=1e-6)


def test_scaffold_takes_its_first_step_as_fedavg_does():
    settings = ("run.rounds=1", "model.name=tests.algorithms.problem:convs")
    found, _ = simulate("scaffold", settings)
    assert np.array_equal(weights_of(found), weights_of(fedavg(*settings)[0]))


@pytest.mark.parametrize("engine", ["torch", "kernels"])
def test_gates_that_are_always_one_are_no_gates(engine):
    """ADP v1 with ratio 1 keeps its gates; only with U = 0 and b = 1 they do nothing."""
    by = (f"run.engine={engine}",)
    gated, dense = experiment("adp-v1", by, ratio=1.0), experiment("fedavg", by)
    x, _ = dense.test.take(np.arange(9))
    weights = gated.weights.copy()
    assert not np.allclose(
        gated.engine.outputs(weights, x), dense.engine.outputs(dense.weights, x), atol=1e-3
    )
    for tensor in gated.layout.tensors:
        if ".gate." in tensor.name:
            block = slice(tensor.start, tensor.start + tensor.size)
            weights[block] = 1.0 if tensor.name.endswith("bias") else 0.0
    assert same_bits(gated.engine.outputs(weights, x), dense.engine.outputs(dense.weights, x))
