"""Curves: the right points, and plots in readable text."""

import unicodedata

import h5py
import numpy as np
import pytest

from fedmpi.analysis import curves
from fedmpi.errors import ConfigError
from fedmpi.record import reader
from tests.record import sample


def make(path, accuracy, **names):
    """Return a run with these accuracies."""
    return reader.open(sample.write(path, rounds=len(accuracy), accuracy=accuracy, **names))


def test_points_by_hand(tmp_path):
    run = make(tmp_path / "a.h5", [0.1, np.nan, 0.5], cost=2.0)
    expected = {"rounds": [1, 3], "bytes": [16_000, 48_000], "seconds": [20, 60]}
    for axis, points in expected.items():
        x, y = curves.series(run, axis)
        assert x.tolist() == points
        assert y.tolist() == [0.1, 0.5]
    with pytest.raises(ConfigError, match="axis 'hours': must be one of rounds, bytes, seconds"):
        curves.series(run, "hours")


@pytest.mark.parametrize("width", [50, 80, 120])
@pytest.mark.parametrize("count", [1, 2, 6, pytest.param(30, marks=pytest.mark.soak)])
def test_plots_fit_and_need_no_colour(tmp_path, width, count):
    x = np.linspace(1, 40, 40)
    lines = [1 - np.exp(-x / (5 + 3 * k)) for k in range(count)]
    runs = [make(tmp_path / f"run{k}.h5", list(y), cost=1 + k) for k, y in enumerate(lines)]
    text = curves.text(runs, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert all(unicodedata.category(c)[0] != "C" or c == "\n" for c in text)  # no escapes
    for title in ("over rounds", "over bytes sent, up and down", "over virtual time"):
        assert title in text
    assert "A run0" in text and text.count("\n") < 3 * 15 + count + 5
    if count == 6:
        body = text[: text.index("A run0")]
        assert all(f"{letter}" in body for letter in "ABCDEF")


def test_a_plot_rises_where_the_curve_rises():
    x = np.linspace(0, 100, 50)
    lines = curves.plot([(x, x / 100)], curves.AXES["rounds"], width=40, height=9).splitlines()
    body = [line[7:] for line in lines[1:10]]
    firsts = [len(line) - len(line.lstrip()) for line in body]
    assert firsts == sorted(firsts, reverse=True) and firsts[-1] == 0 and firsts[0] > 25
    assert lines[1].startswith("1.000 │") and lines[9].startswith("0.000 │")
    assert lines[-1].split() == ["0", "20", "40", "60", "80", "100"]


def test_ticks_carry_units():
    x = np.array([0.5e6, 4e6])
    plot = curves.plot([(x, np.array([0.2, 0.9]))], curves.AXES["bytes"])
    assert plot.splitlines()[-1].split() == ["0", "1", "2", "3", "4", "MB"]


@pytest.mark.parametrize("accuracy", [[0.0], [1.0], [0.5, 0.5], [0.1], [0.97, 0.9701]])
def test_flat_and_single_curves(tmp_path, accuracy):
    run = make(tmp_path / "a.h5", accuracy)
    text = curves.text([run, run])
    assert max(map(len, text.splitlines())) <= 80
    assert any(0x2800 < ord(c) < 0x2900 for c in text) or "A" in text


def test_no_time_passes_and_no_bytes_flow(tmp_path):
    run = make(tmp_path / "a.h5", [0.1, 0.2], cost=0.0)
    assert "over virtual time" in curves.text([run])


def test_a_round_without_a_time_is_on_no_curve_over_time(tmp_path):
    path = sample.write(tmp_path / "a.h5", rounds=3, accuracy=[0.1, 0.2, 0.3])
    with h5py.File(path, "r+") as file:
        file["rounds/virtual_time"][...] = [10, 20, np.nan]
    run = reader.open(path)
    x, y = curves.series(run, "seconds")
    assert (x.tolist(), y.tolist()) == ([10, 20], [0.1, 0.2])
    assert "over virtual time" in curves.text([run])


def test_no_evaluated_round(tmp_path):
    run = make(tmp_path / "a.h5", [np.nan, np.nan])
    other = make(tmp_path / "b.h5", [0.3, 0.4])
    assert "no round with a test accuracy" in curves.text([run])
    assert "B b" in curves.text([run, other])


@pytest.mark.parametrize(
    ("value", "step"),
    [(0.01, 0.01), (0.011, 0.02), (0.05, 0.05), (0.3, 0.5), (0.7, 1), (1, 1), (21, 50), (0, 0),
     (5e-324, 0), (1e-310, 0), (np.nan, 0)],
)
def test_round_steps(value, step):
    assert curves.round_step(value) == pytest.approx(step)


def test_a_run_without_an_evaluation_leaves_the_others_their_mean(tmp_path):
    runs = [make(tmp_path / "a.h5", [0.2, 0.4]), make(tmp_path / "b.h5", [0.4, 0.6]),
            make(tmp_path / "c.h5", [], status="failed")]
    x, y, deviation = curves.mean_curve(runs, "rounds")
    assert (x.tolist(), y.tolist()) == ([1, 2], pytest.approx([0.3, 0.5]))
    assert deviation.tolist() == pytest.approx([0.02**0.5] * 2)
    text = curves.text(runs, each=False)
    assert "no round with" not in text and text.endswith("A sample, mean of 2 runs")
    assert curves.text(runs[2:], each=False).endswith("0 runs")


def test_an_axis_of_few_rounds_has_no_half_rounds():
    assert curves.x_labels(3.0, (1, ""), 40).split() == ["0", "1", "2", "3"]
    assert curves.x_labels(1.0, (1, ""), 40).split() == ["0", "1"]
    assert curves.x_labels(0.4, (1, "s"), 40).split()[:2] == ["0", "0.1"]


def test_an_axis_of_the_least_number_has_its_unit():
    assert curves.x_labels(5e-324, (1.0, "s"), 40).endswith(" s")
