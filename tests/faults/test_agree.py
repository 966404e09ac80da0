"""Ranks that differ stop the run; a resumed run has its first data and code, or says so."""

import random

import numpy as np
import pytest

from fedmpi.errors import AlikeError, ResultError
from fedmpi.experiment.agree import changed
from fedmpi.learn.models import build
from fedmpi.record import reader
from fedmpi.rng import seeded_generators
from tests.conftest import SOON
from tests.faults.job import Job, run_here, write_config

OWN = "tests.faults.own:"


def test_a_model_that_draws_from_numpy_is_seeded_by_the_run():
    first, again, other = (
        build(OWN + "drawn_by_numpy", (4,), 2, {}, seed).weight.detach().numpy()
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_global_generators_are_left_as_they_were():
    random.seed(5)
    expected = random.random()
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    random.seed(5)
    with seeded_generators(1):
        np.random.random(1000)  # noqa: NPY002
        random.random()
    assert random.random() == expected
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_all_ranks_begin_with_the_weights_of_the_first(tmp_path, starts):
    config, out = write_config(tmp_path, rounds=2), tmp_path / "out.h5"
    config.write_text(config.read_text().replace('name = "mlp"\nhidden = [16]',
                                                 f'name = "{OWN}drawn_by_rank"'))
    found = []
    for ranks in (1, 2):
        words = ["run", config, "-o", out, "--overwrite"]
        with Job(tmp_path, *words, ranks=ranks, program=starts.words()) as job:
            assert job.end(SOON) == 0, job.text()
        found.append(reader.open(out).weights_sha256)
    assert found[0] == found[1]


@pytest.mark.parametrize("method", ["Counts", "Draws"])
def test_a_method_that_counts_or_draws_is_found_before_the_first_round(tmp_path, method):
    with pytest.raises(AlikeError, match=r"run.train_twice: client 0 .* the second time: the meth"):
        run_here(tmp_path / "out.h5", method, ["run.train_twice=2"], rounds=2)
    assert not (tmp_path / "out.h5").exists()


def test_methods_that_remember_pass_and_leave_no_trace(tmp_path):
    found = []
    for times in (0, 3):
        run_here(tmp_path / f"{times}.h5", "Remembers", [f"run.train_twice={times}"], rounds=3)
        found.append(reader.open(tmp_path / f"{times}.h5").weights_sha256)
    assert found[0] == found[1]


def test_data_that_changed_since_are_refused_or_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out.h5"
    run_here(out, overrides=[f"data.name={OWN}counted"], rounds=2)
    (tmp_path / "shifted").touch()
    before = out.read_bytes()
    with pytest.raises(ResultError, match=r"out.h5: data .*changed since the run began"):
        run_here(out, resume=True, overrides=["run.rounds=3"])
    assert out.read_bytes() == before
    run_here(out, resume=True, overrides=["run.rounds=3"], force=True)
    with reader.open(out) as run:
        assert run.status == "finished" and len(run.rounds) == 3
        notes = [e["text"] for e in run.events if e["kind"] == "warning"]
        assert [note.split(": ")[1].split(" (")[0] for note in notes] == ["data", "partition"]
    run_here(out, resume=True, overrides=["run.rounds=4"])  # provenance is that of the last start


def test_what_changed_is_named_and_what_was_not_kept_is_not_compared():
    assert changed({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == ["b (2 then, 3 now)"]
