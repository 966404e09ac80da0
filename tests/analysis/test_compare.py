"""Savings, targets and warnings, against numbers worked out by hand."""

import json
import os
import resource

import numpy as np
import pytest

from fedmpi.analysis import seeds
from fedmpi.analysis.compare import compare, labels
from fedmpi.cli import main
from fedmpi.cli.read import opened
from fedmpi.errors import ConfigError
from fedmpi.record import reader
from tests.record import sample

# Four clients a round: 4000 B up (first run), 8000 B down, 10 s.
DENSE = [0.2, 0.5, np.nan, 0.8, 0.9]
SPARSE = [0.1, 0.4, 0.5, 0.7, 0.85]


@pytest.fixture
def runs(tmp_path):
    """Return a dense run, and a sparse one with half the bytes up and half the seconds."""
    dense = sample.write(tmp_path / "dense.h5", accuracy=DENSE)
    sparse = sample.write(tmp_path / "sparse.h5", accuracy=SPARSE, cost=0.5, algorithm="fedskel")
    return [reader.open(dense), reader.open(sparse)]


def test_prices_of_a_target_by_hand(runs):
    found = compare(runs, 0.8)
    assert found.target == 0.8
    assert found.notes == ()
    dense, sparse = found.rows
    assert dense == {
        "run": "dense", "algorithm": "fedavg", "status": "finished", "rounds": 5,
        "final_accuracy": 0.9, "best_accuracy": 0.9, "rounds_to": 4,
        "bytes_up_to": 16_000, "bytes_down_to": 32_000, "bytes_to": 48_000, "seconds_to": 40.0,
        "bytes_saved": 0.0, "seconds_saved": 0.0,
    }
    assert sparse == {
        "run": "sparse", "algorithm": "fedskel", "status": "finished", "rounds": 5,
        "final_accuracy": 0.85, "best_accuracy": 0.85, "rounds_to": 5,
        "bytes_up_to": 10_000, "bytes_down_to": 40_000, "bytes_to": 50_000, "seconds_to": 25.0,
        "bytes_saved": pytest.approx(-2 / 48), "seconds_saved": 0.375,
    }
    json.dumps(found.rows, allow_nan=False)


def test_without_a_target_the_highest_common_accuracy_is_taken_and_told(runs):
    found = compare(runs)
    assert found.target == 0.85
    assert "highest accuracy that all runs reach" in found.notes[0]
    assert [row["rounds_to"] for row in found.rows] == [5, 5]


def test_a_common_target_is_reached_by_all_in_spite_of_rounding(tmp_path):
    best = 0.8765499999
    path = sample.write(tmp_path / "a.h5", rounds=1, accuracy=[best])
    found = compare([reader.open(path)])
    assert found.target == 0.8765
    assert found.rows[0]["rounds_to"] == 1


def test_an_accuracy_that_one_run_does_not_reach(runs):
    dense, sparse = compare(runs, 0.9).rows
    assert (dense["rounds_to"], dense["seconds_to"]) == (5, 50.0)
    for name in ("rounds_to", "bytes_to", "bytes_up_to", "seconds_to", "bytes_saved"):
        assert sparse[name] is None
    assert all(r["seconds_saved"] is None for r in compare(runs[::-1], 0.9).rows)


def test_the_text_holds_the_numbers_and_fits_80_columns(runs):
    text = compare(runs, 0.8).text()
    assert max(map(len, text.splitlines())) <= 80
    rows = {tuple(line.split()) for line in text.splitlines()}
    assert ("dense", "fedavg", "finished", "5", "0.9000", "0.9000") in rows
    sparse = "sparse 5 10 kB 40 kB 50 kB -4.17 % 25 s 37.5 %"
    assert tuple(sparse.split()) in rows
    assert "to test accuracy 0.8 (saved: against dense):" in text
    assert "nan" not in compare(runs, 1.0).text().lower()


def test_a_wide_table_is_broken_between_columns(tmp_path, runs):
    name = "static-mask-with-a-long-name"
    long = sample.write(tmp_path / f"{name}.h5", accuracy=SPARSE, cost=0.5)
    lines = compare([reader.open(long), *runs], 0.8).text().splitlines()
    assert max(map(len, lines)) <= 80
    heads = [line.split() for line in lines if line.startswith("run ")]
    assert heads[1:] == [["run", "rounds", "up", "down", "up+down", "saved"],
                         ["run", "virtual", "saved"]]
    rows = [" ".join(line.split()) for line in lines if line.startswith("sparse")]
    assert rows[1:] == ["sparse 5 10 kB 40 kB 50 kB 0 %", "sparse 25 s 0 %"]
    lines = seeds.text(seeds.rows([reader.open(long), runs[1]], 0.8), 0.8).splitlines()
    assert max(map(len, lines)) <= 80
    heads = [" ".join(line.split()[1:]) for line in lines if line.startswith("configuration")]
    assert heads == ["runs final accuracy", f"against {name} reached",
                     "rounds sent saved virtual"]  # fmt: skip


def test_runs_that_never_evaluated_have_no_target(tmp_path, runs):
    path = sample.write(tmp_path / "blind.h5", rounds=2, accuracy=[np.nan, np.nan])
    found = compare([*runs, reader.open(path)])
    assert found.target is None
    assert "blind has no round with a test accuracy above 0" in found.text()
    assert found.rows[2]["best_accuracy"] is None


def test_runs_without_any_accuracy_have_no_target(tmp_path):
    paths = [sample.write(tmp_path / f"{name}.h5", accuracy=[np.nan] * 5) for name in "ab"]
    found = compare([reader.open(path) for path in paths])
    assert found.target is None and found.notes == (
        "No target: no run has a round with a test accuracy. Losses and metrics: see the report, "
        "and the columns of fedmpi table.",)


@pytest.mark.parametrize("status", ["failed", "running", "stopped"])
def test_a_run_that_ended_before_its_first_test_leaves_the_others_their_target(
    tmp_path, runs, status
):
    early = reader.open(sample.write(tmp_path / "early.h5", rounds=0, status=status))
    found = compare([early, *runs])
    assert found.target == 0.85
    assert "the highest accuracy that all runs with a test reach; choose" in found.notes[0]
    assert [row["rounds_to"] for row in found.rows] == [None, 5, 5]
    assert compare([early]).notes[0].startswith("No target: no run has a round with a test acc")


def test_what_makes_runs_hard_to_compare_is_told(tmp_path, runs):
    new = sample.Writer.create(
        tmp_path / "other.h5",
        **sample.fixed() | {"resolved": {"data": {"name": "digits"}, "model": 3}},
    )
    new.append(*sample.one_round(0))
    new.commit()
    notes = " ".join(compare([*runs, reader.open(tmp_path / "other.h5")]).notes)
    assert "the runs differ in data.name: -, digits." in notes
    assert "unfinished runs count as far as they got: other (running or killed, 1 round)." in notes


def test_unfinished_runs_are_named_with_their_rounds_also_among_seeds(tmp_path, runs, capsys):
    paths = [runs[0].path]
    for number, status in enumerate(["failed", "stopped", "running", "failed", "failed"]):
        names = sample.fixed(seed=number + 2)
        names["resolved"] |= {"run": {"name": "sample", "seed": number + 2, "rounds": 5}}
        writer = sample.Writer.create(tmp_path / f"late{number}.h5", **names)
        for of in range(number):
            writer.append(*sample.one_round(of))
        writer.finish(status)
        paths.append(str(tmp_path / f"late{number}.h5"))
    assert not any("unfinished" in note for note in compare(runs).notes)
    main(["compare", *paths, "--no-curves"])
    assert (
        "Beware: unfinished runs count as far as they got: late0 (failed, 0 of 5 rounds), late1 "
        "(stopped, 1 of 5 rounds), late2 (running or killed, 2 of 5 rounds), late3 (failed, 3 of 5 "
        "rounds) and 1 more."
    ) in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("target", [0.0, -1.0, 80.0, float("nan")])
def test_targets_outside_0_to_1_are_refused(runs, target):
    with pytest.raises(ConfigError, match="must be above 0 and at most 1"):
        compare(runs, target)


def test_no_run_is_refused():
    with pytest.raises(ConfigError, match="at least one"):
        compare([])


def test_labels_take_as_many_folders_as_tell_files_apart(tmp_path):
    paths = []
    for name in ("a/seed1/out", "a/seed2/out", "b/seed1/out"):
        (tmp_path / name).parent.mkdir(parents=True)
        paths.append(sample.write(tmp_path / f"{name}.h5", rounds=0))
    runs = [reader.open(path) for path in paths]
    assert labels(runs[:1]) == ["out"]
    assert labels(runs[:2]) == ["seed1/out", "seed2/out"]
    assert labels(runs) == ["a/seed1/out", "a/seed2/out", "b/seed1/out"]
    assert labels([runs[0], runs[0]]) == ["out", "out"]
    other = reader.open(sample.write(tmp_path / "a/seed1/out.hdf5", rounds=0))
    assert labels([runs[0], other]) == ["out.h5", "out.hdf5"]


def test_more_files_than_a_process_may_open_at_first(tmp_path, runs):
    path = runs[0].path
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/proc/self/fd")) + 8
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
    try:
        assert [run.path for run in opened([path] * 20)] == [path] * 20
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
