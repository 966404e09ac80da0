"""The estimated costs of an experiment are those of its first round."""

import numba
import pytest

from fedmpi.cli import inspect
from fedmpi.experiment.estimate import estimate
from fedmpi.experiment.resolve import of_tree
from tests.conftest import COMPILED
from tests.round import test_flights
from tests.round.test_loop import TREE, simulation


@pytest.mark.parametrize("how", [{}, {"local_steps": 5}])
@pytest.mark.parametrize("name", ["fedavg", "fedlp", "fedskel", f"{test_flights.__name__}:Halved"])
def test_the_estimate_is_the_first_round(name, how):
    algorithm, clients = {"name": name}, TREE["clients"] | how
    costs = estimate(of_tree(TREE | {"algorithm": algorithm, "clients": clients}), None)
    columns = simulation(algorithm=algorithm, clients=how).round().columns
    for column in ("bytes_down", "bytes_up", "flops"):
        assert costs[column] == columns[column], column
    assert costs["virtual_seconds"] == pytest.approx(columns["virtual_time"])


def test_the_estimate_in_words_knows_a_single_layer():
    resolved = of_tree(TREE | {"model": {"name": "softmax"}})
    first = inspect._costs(estimate(resolved, None), resolved.config)[0]
    assert first.split(maxsplit=2)[2] == "650 parameters in 1 layer"


@pytest.mark.parametrize(("name", "keys"), [
    ("fedspa", {}), ("static-mask", {"mask": "snip", "batches": 2}),
    ("static-mask", {"mask": "grasp", "batches": 3}), ("skeletonization", {"criterion": 10.0}),
])  # fmt: skip
def test_the_estimate_counts_gradients_that_are_measured_and_not_trained_on(name, keys):
    more = {"algorithm": {"name": name, **keys}, "model": {"name": "mlp"}}
    costs = estimate(of_tree(TREE | more), None)
    found = simulation(**more).round().columns["flops"]
    assert costs["flops"] == found and found > 0


def test_flops_beyond_int64_are_counted():
    data = {"name": "patterns", "images": 6000, "side": 28, "partition": "iid"}
    clients = {"number": 4, "local_steps": 1, "batch_size": 1500}
    tree = {"data": data, "clients": clients, "model": {"name": "lenet5"}}
    one = estimate(of_tree(tree), None)["flops"]
    clients["local_steps"] = 1_000_000_000
    assert 1e9 * one > 2**63
    assert estimate(of_tree(tree), None)["flops"] == pytest.approx(1e9 * one)


RUN = """
[run]
rounds = 2
seed = 1
[data]
name = "patterns"
images = {images}
side = {side}
[clients]
number = 4
per_round = 2
local_steps = 2
batch_size = {batch}
[model]
name = "{model}"
[optimizer]
lr = 1e-3
[algorithm]
name = "{algorithm}"
"""
PEAK = """
import sys
from fedmpi.cli import main
from fedmpi.resident import peak
try:
    main(sys.argv[1:])
finally:
    print("peak", peak())
"""


@pytest.mark.timeout(600)
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="needs the compiler")
@pytest.mark.parametrize(
    ("model", "side", "batch", "algorithm", "ranks"),
    [
        ("lenet5", 28, 32, "fedavg", [None]),
        pytest.param("lenet5", 28, 32, "scaffold", [2], marks=pytest.mark.soak),
        pytest.param("resnet20", 32, 128, "fedavg", [None], marks=pytest.mark.soak),
        pytest.param("vgg11", 32, 32, "scaffold", [None, 2], marks=pytest.mark.soak),
    ],
)  # fmt: skip
def test_the_memory_is_what_a_run_takes(run_python, tmp_path, model, side, batch, algorithm, ranks):
    """Within a quarter of the peak of a run's largest rank, each measured in its own process.

    A start that finds its model in the cache needs less: it does not import torch.
    """
    keys = {"model": model, "side": side, "batch": batch, "algorithm": algorithm}
    (tmp_path / "exp.toml").write_text(RUN.format(images=8 * batch, **keys))
    (tmp_path / "peak.py").write_text(PEAK)
    words = "peak.py", "run", "exp.toml", "-o", "out.h5", "--quiet", "--overwrite"
    costs = run_python("-c", ESTIMATE, timeout=600, **COMPILED).stdout.split()
    alone, of_several, data = map(int, costs)
    for number in ranks:
        fresh = str(tmp_path / f"cache-{number}")
        done = run_python(*words, timeout=600, ranks=number, XDG_CACHE_HOME=fresh)
        measured = max(int(line.split()[-1]) for line in done.stdout.splitlines())
        estimated = data + (of_several if number else alone)
        assert estimated == pytest.approx(measured, rel=0.25), (number, costs, measured)


ESTIMATE = """
from fedmpi.experiment.estimate import estimate
from fedmpi.experiment.resolve import read
costs = estimate(read("exp.toml"), None)
print(*(costs[f"memory_of_{name}"] for name in ("a_rank", "one_of_several", "the_data")))
"""
