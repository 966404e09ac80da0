"""Whole runs as a person starts them: the same bits on any number of ranks, and clear ends."""

import json
from pathlib import Path

import numpy as np
import pytest

from fedmpi.record import reader
from tests.conftest import SOON

CONFIG = """
[run]
rounds = 4
seed = 3
[data]
partition = "dirichlet"
alpha = 0.3
[clients]
number = 12
per_round = 7
batch_size = 16
[model]
name = "lenet5"
[devices]
profile = "tiers"
"""
# Contents that may differ between two runs of one experiment: measurements and places.
MEASURED = {"wall_time", "mpi_bytes", "rank", "collective", "collective_regret", "memory_peak"}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "exp.toml"
    path.write_text(CONFIG)
    return path


def contents(path):
    """Everything in a result file that must not depend on ranks, placement or time."""
    with reader.open(path) as run:
        tables = {}
        for name in ("rounds", "clients", "layers"):
            table = getattr(run, name)
            tables |= {f"{name}/{c}": table[c].tolist() for c in table.columns if c not in MEASURED}
        return run.weights_sha256, tables


def equal(one, other):
    """Compare two contents; NaN, which marks rounds without evaluation, equals itself."""
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    for name in one[1]:
        np.testing.assert_array_equal(one[1][name], other[1][name], err_msg=name)


@pytest.mark.parametrize(("algorithm", "counts"), [
    ("fedavg", (2, 7)), *(pytest.param(name, (2, 3, 4), marks=pytest.mark.soak)
                          for name in ("fedavg", "fedlp", "fedprox")),
])  # fmt: skip
def test_any_number_of_ranks_gives_the_same_file(run_fedmpi, config, tmp_path, algorithm, counts):
    """tests/mpi looks at every method on 2 to 4 ranks; here files are compared."""
    runs = []
    for ranks in (None, *counts):
        out = tmp_path / f"{ranks}.h5"
        done = run_fedmpi("run", config, "-o", out, "--set", f"algorithm.name={algorithm}",
                          ranks=ranks)
        assert done.returncode == 0, done.stderr
        runs.append(contents(out))
    for other in runs[1:]:
        equal(runs[0], other)
    assert len(runs[0][1]["clients/client"]) == 4 * 7


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("ranks", [16, 32])
def test_many_more_ranks_than_cores_give_the_same_file(run_fedmpi, config, tmp_path, ranks):
    words = ["run", config, "--set", "clients.number=40", "--set", "clients.per_round=36", "-o"]
    runs = []
    for count in (None, ranks):
        done = run_fedmpi(*words, tmp_path / f"{count}.h5", ranks=count, timeout=850)
        assert done.returncode == 0, done.stderr
        runs.append(contents(tmp_path / f"{count}.h5"))
    equal(*runs)


def test_fedlp_that_keeps_every_layer_is_fedavg_with_equal_weights(run_fedmpi, config, tmp_path):
    digests = []
    for words in (["algorithm.name=fedlp", "algorithm.p=1.0"], ["algorithm.name=fedavg"]):
        out = tmp_path / f"{words[0]}.h5"
        overrides = [w for word in (*words, "clients.weighting=uniform") for w in ("--set", word)]
        assert run_fedmpi("run", config, "-o", out, *overrides).returncode == 0
        digests.append(contents(out)[0])
    assert digests[0] == digests[1]


def test_fast_sums_are_near_exact_ones(run_fedmpi, config, tmp_path):
    weights = []
    for kind in ("exact", "fast"):
        out = tmp_path / f"{kind}.h5"
        assert run_fedmpi("run", config, "-o", out, "--set", f"run.sum={kind}").returncode == 0
        weights.append(np.concatenate([w.ravel() for w in reader.open(out).model().values()]))
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-4)
    assert (weights[0] != weights[1]).any()


def test_info_shows_the_digest_of_the_weights(run_fedmpi, config, tmp_path):
    out = tmp_path / "a.h5"
    run_fedmpi("run", config, "-o", out)
    info = json.loads(run_fedmpi("info", "--json", out).stdout)
    assert info["weights_sha256"] == contents(out)[0]
    assert info["status"] == "finished" and info["rounds"] == 4


BAD_STARTS = {
    "no such file": (2, ["run", "nowhere.toml", "-o", "a.h5"], "nowhere.toml: No such file"),
    "bad key": (2, ["run", "exp.toml", "-o", "a.h5", "--set", "run.sed=1"], "did you mean seed?"),
    "no folder": (1, ["run", "exp.toml", "-o", "no/a.h5"], "does not exist"),
    "too many clients": (
        2,
        ["run", "exp.toml", "-o", "a.h5", "--set", "clients.number=5000"],
        "must be from 1 to 1437",
    ),
    "model for another input": (
        2,
        ["run", "exp.toml", "-o", "a.h5", "--set", "model.name=fedlp-cnn"],
        "fedlp-cnn",
    ),
    "data not there": (
        1,
        ["run", "exp.toml", "-o", "a.h5", "--set", "data.name=mnist", "--set", "data.root=/none"],
        "FEDMPI_DATA",
    ),
}


@pytest.mark.parametrize("ranks", [None, 2])
@pytest.mark.parametrize("case", BAD_STARTS)
def test_a_run_that_cannot_start_says_why_once(run_fedmpi, config, case, ranks):
    code, words, message = BAD_STARTS[case]
    done = run_fedmpi(*words, ranks=ranks)
    assert done.returncode == code, done.stderr
    ours = [line for line in done.stderr.splitlines() if line.startswith("fedmpi: ")]
    assert len(ours) == 1 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not Path(config.parent / "a.h5").exists()


def test_an_existing_result_is_refused_and_unharmed(run_fedmpi, config, tmp_path):
    out = tmp_path / "a.h5"
    run_fedmpi("run", config, "-o", out)
    before = out.read_bytes()
    done = run_fedmpi("run", config, "-o", out, ranks=2)
    assert done.returncode == 1 and "--overwrite" in done.stderr
    assert out.read_bytes() == before
    assert run_fedmpi("run", config, "-o", out, "--overwrite").returncode == 0


OWN = '''
import fedmpi
from fedmpi.layout import Support
from fedmpi.plan import Plan


class Raises(fedmpi.Algorithm):
    """Raises on the rank that simulates client 5."""

    def plan(self, state, round, client):
        if round == 1 and client == 5:
            raise RuntimeError("client 5 is broken")
        return Plan(down=Support.all(self.layout), up=Support.all(self.layout))
'''


def test_a_rank_that_raises_ends_the_others_within_seconds(run_fedmpi, config, tmp_path):
    (tmp_path / "own_method.py").write_text(OWN)
    done = run_fedmpi(
        "run", config, "-o", tmp_path / "a.h5", "--set", "algorithm.name=own_method:Raises",
        "--set", "clients.per_round=12", ranks=3, PYTHONPATH=f"{tmp_path}:{Path.cwd()}",
        timeout=2 * SOON,
    )
    assert done.returncode != 0
    assert "RuntimeError: client 5 is broken" in done.stderr
    with reader.open(tmp_path / "a.h5") as run:
        assert (run.status, len(run.rounds)) == ("failed", 1)
        assert "RuntimeError: client 5 is broken" in run.events[-1]["text"]
