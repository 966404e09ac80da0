"""Runs that differ in the seed alone: mean, spread and paired differences worked out by hand."""

import math

import pytest

from fedmpi.analysis import seeds
from fedmpi.analysis.compare import compare
from fedmpi.analysis.curves import AXES, mean_curve, plot
from fedmpi.analysis.paper import figure
from fedmpi.cli import main
from fedmpi.record import reader
from tests.record import sample


def seeded(folder, algorithm, seed, accuracy):
    """Write a result with a round for each `accuracy`, and return its path."""
    return sample.write(folder / f"{algorithm}-s{seed}.h5", rounds=len(accuracy), seed=seed,
                        accuracy=accuracy, algorithm=algorithm, name=algorithm)


@pytest.fixture
def runs(tmp_path):
    """Two methods with seeds 1, 2, 3; final accuracies 0.80, 0.82, 0.84 and 0.83, 0.83, 0.86."""
    finals = {"fedavg": (0.80, 0.82, 0.84), "fedskel": (0.83, 0.83, 0.86)}
    return [reader.open(seeded(tmp_path, name, seed, [0.5, 0.7, final]))
            for name, found in finals.items() for seed, final in enumerate(found, 1)]


def test_six_runs_of_two_configurations_are_two_rows(runs):
    first, second = seeds.rows(runs, 0.8)
    assert (first["runs"], first["seeds"], first["reached"]) == (3, [1, 2, 3], 3)
    assert first["final_accuracy"].mean == pytest.approx(0.82)
    assert first["final_accuracy"].deviation == pytest.approx(0.02)
    assert first["rounds_to"].mean == 3 and first["difference"] is None
    # Differences 0.03, 0.01, 0.02: deviation 0.01, and t = 4.303 with two degrees of freedom.
    mean, half = second["difference"]
    assert mean == pytest.approx(0.02)
    assert half == pytest.approx(4.303 * 0.01 / math.sqrt(3))
    lines = seeds.text([first, second], 0.8).splitlines()
    assert "0.8200 ± 0.0200" in lines[1] and "+0.0200 ± 0.0248" in lines[2]


def test_a_target_that_one_seed_misses_has_no_mean(runs):
    first, _ = seeds.rows(runs, 0.81)
    assert first["reached"] == 2 and first["rounds_to"] is None
    assert "2/3" in seeds.text([first, first], 0.81)


def test_a_seed_that_two_runs_have_counts_once_and_is_named(runs):
    first, second = seeds.rows([*runs, runs[2], runs[2]])
    assert (first["runs"], first["seeds"], first["repeated"]) == (5, [1, 2, 3], [3])
    assert first["final_accuracy"].count == 3 and second["repeated"] == []
    lines = seeds.text([first, second]).splitlines()
    assert [line for line in lines if "the seed 3;" in line] == [lines[-2]]
    assert " ".join(lines[-2:]).endswith("the final accuracy counts the last of them")


def test_a_single_run_has_no_deviation(runs):
    first, second = seeds.rows([runs[0], runs[3]], 0.5)
    assert (first["final_accuracy"].count, first["final_accuracy"].deviation) == (1, None)
    assert second["bytes_to"].deviation is None and second["difference"] is None
    assert "±" not in seeds.text([first, second], 0.5).splitlines()[1]


def test_the_curve_of_a_figure_is_the_mean_over_seeds(runs):
    x, mean, deviation = mean_curve(runs[:3], "rounds")
    assert x.tolist() == [1, 2, 3]
    assert mean.tolist() == pytest.approx([0.5, 0.7, 0.82])
    assert deviation.tolist() == pytest.approx([0, 0, 0.02])


def test_compare_draws_a_curve_for_each_row_of_its_table(runs, capsys):
    paths = [str(run.path) for run in runs]
    assert main(["compare", *paths]) == 0
    plots, _, legend = capsys.readouterr().out.rpartition("\n\n")
    assert legend.split("\n") == ["A fedavg, mean of 3 runs", "B fedskel, mean of 3 runs", ""]
    first, second = (mean_curve(of, "bytes")[:2] for of in (runs[:3], runs[3:]))
    assert plot([first, second], AXES["bytes"]) in plots
    assert main(["compare", "--each", *paths]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "F fedskel-s3"


@pytest.mark.parametrize(("columns", "width"), [(1, 252), (2, 515.52)])
def test_a_figure_has_the_width_of_its_columns(runs, tmp_path, columns, width):
    pytest.importorskip("matplotlib")
    figure(runs, str(tmp_path / "a.svg"), columns, 0.8)
    text = (tmp_path / "a.svg").read_text()
    assert f'width="{width:g}pt"' in text


def test_a_long_name_stands_once_in_a_line(runs):
    found = [row | {"name": f"{row['name']}-" + "x" * 100} for row in seeds.rows(runs, 0.5)]
    assert max(map(len, seeds.text(found, 0.5).splitlines())) < 160


def test_no_target_is_chosen_at_chance(tmp_path):
    run = reader.open(seeded(tmp_path, "fedavg", 1, [0.01, 0.02]))
    found = compare([run])
    assert found.target is None and "most frequent class" in found.notes[0]
