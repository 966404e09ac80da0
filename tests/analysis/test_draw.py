"""The picture: its parts are named, it is written whole, and its absence is explained."""

import sys

import numpy as np
import pytest

from fedmpi.analysis import draw, paper
from fedmpi.analysis.curves import AXES
from fedmpi.errors import ConfigError, ResultError
from fedmpi.record import reader
from tests.record import sample


@pytest.fixture
def runs(tmp_path):
    """Return two runs."""
    paths = [sample.write(tmp_path / f"{name}.h5", rounds=9, cost=cost)
             for name, cost in (("dense", 1e4), ("sparse", 10.0))]
    return [reader.open(path) for path in paths]


def test_the_picture_names_its_axes_units_and_runs(runs, tmp_path):
    pytest.importorskip("matplotlib")
    draw.draw(runs, tmp_path / "a.svg", target=0.5)
    draw.draw(runs[:1], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "a.svg").read_text()
    for text in ("test accuracy", "rounds", "bytes sent, up and down [MB]", "virtual time [d]",
                 "dense", "sparse"):
        assert f"<!-- {text} -->" in svg
    assert not list(tmp_path.glob("*.part"))


def test_lines_differ_without_colour_and_hold_the_points(runs):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    panel = figure.subplots()
    lines = draw.draw_panel(panel, runs, "bytes", None)
    assert len({line.get_linestyle() for line in lines}) == 2
    x = AXES["bytes"].values(runs[0])
    np.testing.assert_allclose(lines[0].get_xdata(), x / 1e6)
    np.testing.assert_array_equal(lines[0].get_ydata(), runs[0].rounds.test_accuracy)


def test_runs_without_points(tmp_path):
    pytest.importorskip("matplotlib")
    path = sample.write(tmp_path / "a.h5", rounds=2, accuracy=[np.nan, np.nan])
    draw.draw([reader.open(path)], tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_a_result_file_is_not_drawn_over(runs, tmp_path):
    before = (tmp_path / "dense.h5").read_bytes()
    with pytest.raises(ConfigError, match=r"must end in .png, .svg, .pdf"):
        draw.draw(runs, tmp_path / "dense.h5")
    assert (tmp_path / "dense.h5").read_bytes() == before


def test_a_folder_that_is_missing_or_in_the_place_of_the_picture(runs, tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ResultError, match="its folder does not exist"):
        draw.draw(runs, tmp_path / "no" / "a.png")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(ResultError, match="cannot be written"):
        draw.draw(runs, tmp_path / "b.png")
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("name", [r"$\frac$", "_a $1 to $2"])
def test_a_name_is_no_formula(tmp_path, name):
    pytest.importorskip("matplotlib")
    runs = [reader.open(sample.write(tmp_path / f"{name}{i}.h5", 2, name=name)) for i in (1, 2)]
    draw.draw(runs, tmp_path / "a.svg")
    draw.draw(runs[:1], tmp_path / "b.svg")
    paper.figure(runs, tmp_path / "c.svg")
    for picture in "abc":
        assert f"<!-- {name}" in (tmp_path / f"{picture}.svg").read_text()


def test_without_matplotlib_the_extra_is_named(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ResultError, match=r"pip install 'fedmpi\[analysis\]'"):
        draw.draw(runs, tmp_path / "a.png")
