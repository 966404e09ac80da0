"""The measuring verbs run and write the promised numbers, whose size is not tested."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fedmpi.bench import emulated_rounds
from fedmpi.bench.processes import Launch
from fedmpi.cli import bench_setup, benchmarks
from fedmpi.cli.kernel_cache import keep_kernels_on_node
from tests.conftest import namespaces

CONFIG = """
[run]
rounds = 3
[data]
name = "digits"
[clients]
number = 6
per_round = 2
local_steps = 2
batch_size = 4
"""
SPREAD = {"median", "low", "high", "quartiles", "count"}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "exp.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def run_bench(main, starts, monkeypatch, tmp_path, capsys):
    """Return run(*words): `fedmpi bench words` in this process, its arms forked as in run_fedmpi.

    Gives returncode, stdout and stderr.
    """
    def launch_of(*words):
        return replace(bench_setup.launch_of(*words), program=tuple(starts.words()))

    monkeypatch.setattr(benchmarks, "launch_of", launch_of)
    monkeypatch.setattr(benchmarks, "prepare", lambda: keep_kernels_on_node(os.environ))
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main(["bench", *words])
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return run


def read(path):
    """Return the contents of a JSON file; fail if it holds NaN, which JSON does not have."""
    return json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(word))


def check_bars(bars):
    assert bars
    for bar in bars:
        assert set(bar) == {"name", "value", "kind", "bound", "met", "note"}
        assert bar["met"] is None  # a quick look does not judge


def test_round_of_the_batched_engine(run_bench, tmp_path):
    done = run_bench("round", "--quick", "--engine", "batched", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out.json")
    check_bars(found["bars"])
    assert [row["model"] for row in found["rows"]] == ["lenet5", "mlp"]
    assert all(row["over_torch"] > 0 for row in found["rows"])
    assert found["rule"][0].startswith('engine = "auto" with device = "cuda": batched')
    assert 'engine = "auto" on a processor' in done.stdout


def test_the_batched_engine_heeds_the_minutes_and_refuses_flower(run_fedmpi, tmp_path):
    words = ("bench", "round", "--quick", "--engine", "batched")
    done = run_fedmpi(*words, "--minutes", "0", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    rows = read(tmp_path / "out.json")["rows"]
    assert [(row["over_torch"], "--minutes" in row["note"]) for row in rows] == [(None, True)] * 2
    done = run_fedmpi(*words, "--flower", "python")
    assert done.returncode == 2 and "--flower" in done.stderr


@pytest.mark.timeout(280)
def test_round(run_bench, tmp_path):
    done = run_bench("round", "--quick", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out.json")
    assert set(found) == {
        "setting", "machine", "arms", "overhead", "startup", "memory", "bars"
    }
    check_bars(found["bars"])
    assert found["setting"]["quick"] is True and found["setting"]["data"] == "patterns"
    arms = {(arm["name"], arm["ranks"]): arm for arm in found["arms"]}
    assert {("fedmpi", 1), ("fedmpi", 2), ("fedmpi, torch engine", 1)} <= set(arms)
    for arm in arms.values():
        if not arm["note"]:
            assert set(arm["clients_per_second"]) == SPREAD
            assert 0 < arm["accuracy"] < 1
    shas = {arm["weights_sha256"] for arm in arms.values() if arm["name"] == "fedmpi"}
    assert len(shas) == 1
    assert set(found["overhead"]["over_bare"]) == SPREAD
    assert len(found["memory"]["rounds"]) == 12 and set(found["memory"]["cohorts"]) == {"2", "4"}
    assert "clients/s" in done.stdout and "start-up to the first training step" in done.stdout


@pytest.mark.timeout(280)
def test_a_round_bench_without_time_says_what_it_left_out(run_fedmpi, tmp_path):
    words = ("--quick", "--ranks", "3", "--minutes", "0", "--json", "out.json")
    done = run_fedmpi("bench", "round", *words, timeout=270)
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out.json")
    assert {arm["ranks"] for arm in found["arms"]} == {1, 2, 3}
    assert all("--minutes" in arm["note"] for arm in found["arms"])
    assert found["memory"] is None and found["startup"]["count"] == 0
    assert found["machine"]["processor"] in done.stdout
    check_bars(found["bars"])


@pytest.mark.parametrize("ranks", [None, 2])
def test_run_measures_an_experiment_and_keeps_nothing(run_fedmpi, tmp_path, config, ranks):
    bare = [] if ranks else ["--bare"]
    done = run_fedmpi("bench", "run", config, "--json", "out.json", *bare, ranks=ranks)
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out.json")
    assert len(found["seconds"]) == len(found["memory"]) == len(found["train"]) == 3
    assert len(found["bare"]) == (0 if ranks else 3)
    assert found["ranks"] == (ranks or 1) and min(found["seconds"]) > 0
    assert {path.name for path in tmp_path.iterdir()} == {"exp.toml", "out.json"}


@pytest.mark.parametrize("minutes", ["nan", "-1"])
@pytest.mark.parametrize("engine", ["auto", "batched"])
def test_minutes_that_are_no_time_are_refused(run_bench, minutes, engine):
    done = run_bench("round", "--quick", f"--minutes={minutes}", "--engine", engine)
    assert done.returncode == 2
    assert f"--minutes {minutes}: must be 0 or more" in done.stderr


@pytest.mark.parametrize("option", ["--pfl", "--flower"])
def test_a_quick_look_refuses_the_programs_that_it_does_not_start(run_bench, option):
    done = run_bench("round", "--quick", "--minutes", "0", option, "python")
    assert done.returncode == 2 and f"--quick {option}: " in done.stderr


@pytest.mark.parametrize("words", [("round", "--quick"), ("kernels", "--quick"),
                                   ("world", "--quick"), ("collectives", "--ranks", "0")])
def test_a_benchmark_of_one_process_is_refused_once_on_two(run_fedmpi, words):
    done = run_fedmpi("bench", *words, "--json", "out.json", ranks=2)
    assert done.returncode == 2 and done.stderr.count(f"bench {words[0]}: ") == 1, done.stderr
    assert "mpiexec" in done.stderr


def test_a_name_that_is_too_long_for_a_file_is_refused(run_fedmpi):
    done = run_fedmpi("bench", "kernels", "--json", "a" * 300)
    assert done.returncode == 2 and "File name too long; name a file" in done.stderr


def test_no_numbers_of_ranks_are_not_all_ranks(run_fedmpi, config):
    done = run_fedmpi("bench", "run", config, "--on", "", ranks=2)
    assert done.returncode == 2 and "--on : must be numbers of ranks" in done.stderr


def test_bare_training_needs_one_rank(run_fedmpi, config):
    done = run_fedmpi("bench", "run", config, "--bare", ranks=2)
    assert done.returncode == 2 and done.stderr.count("--bare") == 1


def test_what_is_wrong_with_the_words_of_run_is_said_once_for_all_ranks(run_fedmpi, config):
    for words, said in ((("nowhere.toml",), "nowhere.toml: No such file"),
                        ((config, "--on", "1,9"), "--on 1,9: must be numbers of ranks from 1 to")):
        done = run_fedmpi("bench", "run", *words, ranks=2)
        assert done.returncode == 2 and done.stderr.count(said) == 1, done.stderr


@pytest.mark.timeout(280)
def test_kernels_of_models(run_bench, tmp_path):
    done = run_bench("kernels", "--models", "--quick", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out.json")
    check_bars(found["bars"])
    (row,) = found["models"]
    assert row["model"] == "lenet5 1x28x28" and row["low"] <= row["ratio"] <= row["high"]
    better = row["ratio"] if row["auto"] == "kernels" else 1 / row["ratio"]
    assert row["auto_over_best"] == min(1, better)
    (pruned,) = found["pruning"]
    assert pruned["low"] <= pruned["over_best_dense"] <= pruned["high"]
    assert pruned["best_dense"] in ("kernels", "torch")
    assert found["machine"]["vector_width"] in (4, 8, 16)
    assert f"registers of {found['machine']['vector_width']} float32" in done.stdout


@pytest.mark.timeout(280)
@pytest.mark.parametrize("what", ["kernels", "collectives"])
def test_kernels_and_collectives(run_bench, tmp_path, what):
    done = run_bench(what, "--quick", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out.json")
    if what == "kernels":
        assert found["floors"]["copy_bytes_per_second"] > 1e8
        assert {"training", "sparse"} == set(found["tables"])
        check_bars(found["bars"])
    else:
        assert {"ranks", "rows", "runs", "machine", "bars"} <= set(found)
        assert len({row["arm"] for row in found["rows"]}) > 5
        assert [row["method"] for row in found["runs"]] == ["topk 1 %", "FedAvg"]
        assert all(row["low"] <= row["ratio"] <= row["high"] for row in found["runs"])


@pytest.mark.timeout(280)
def test_scale(run_bench, tmp_path, monkeypatch):
    measured = emulated_rounds._measured

    def in_namespaces(launch, *how):  # whose ranks cannot be forked from outside
        return measured(replace(launch, program=Launch.program), *how)

    monkeypatch.setattr(emulated_rounds, "_measured", in_namespaces)
    done = run_bench("scale", "--quick", "--json", "out.json", "--figure", "out.png")
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out.json")
    assert {row["ranks"] for row in found["rows"]} == {4, 16}
    assert {row["method"] for row in found["methods"]} == {
        "FedSkel", "Skeletonization", "ADP", "FedLP", "FedDIP"
    }
    assert [check["ranks"] for check in found["checks"]] == [2]
    assert {row["scaling"] for row in found["rounds"]} == {"strong", "weak"}
    assert all(row["efficiency"] > 0 for row in found["rounds"])
    # With weak scaling it may pass 1: more ranks share the same evaluation.
    strong = [row["efficiency"] for row in found["rounds"] if row["scaling"] == "strong"]
    assert max(strong) < 1.05
    if namespaces():  # no faster than the bytes of the sums on links of that rate
        one, two = found["emulated"]["rows"]
        assert (one["ranks"], two["ranks"], one["reduce"]) == (1, 2, 0.0)
        assert two["taken"] > 0.9 * two["reduce"] > 0
    names = [bar["name"] for bar in found["bars"] if "emulated" in bar["name"]]
    assert len(names) == 2
    check_bars(found["bars"])
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_a_bench_without_a_word_says_what_there_is(run_fedmpi):
    done = run_fedmpi("bench")
    assert done.returncode == 2 and "WHAT" in done.stderr
