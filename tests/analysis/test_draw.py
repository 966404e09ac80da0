"""The picture: its parts are named, it is written whole, and its absence is explained."""

import sys

import numpy as np
import pytest

from fedmpi import cli
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
    lines = draw.draw_panel(panel, [[run] for run in runs], "bytes", None)
    assert len({line.get_linestyle() for line in lines}) == 2
    x = AXES["bytes"].values(runs[0])
    np.testing.assert_allclose(lines[0].get_xdata(), x / 1e6)
    np.testing.assert_array_equal(lines[0].get_ydata(), runs[0].rounds.test_accuracy)
    assert not panel.collections  # a run has no band


def test_runs_of_a_configuration_are_a_mean_in_a_band(tmp_path):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    group = [reader.open(sample.write(tmp_path / f"{n}.h5", rounds=2, accuracy=[n / 10, 0.5]))
             for n in (2, 4)]
    panel = figure.subplots()
    (line,) = draw.draw_panel(panel, [group], "rounds", None)
    np.testing.assert_allclose(line.get_ydata(), [0.3, 0.5])
    (band,) = panel.collections
    heights = sorted({round(float(y), 4) for x, y in band.get_paths()[0].vertices if x == 1})
    assert heights == [0.1586, 0.4414]  # one deviation of 0.2 and 0.4, over n - 1


@pytest.mark.parametrize(("flag", "lines"), [([], 1), (["--each"], 2)])
def test_plot_has_a_line_for_each_row_of_the_table(tmp_path, capsys, monkeypatch, flag, lines):
    pytest.importorskip("matplotlib")
    outs = [str(sample.write(tmp_path / f"a_seed={n}.h5", rounds=2, seed=n)) for n in (1, 2)]
    drawn, panel = [], draw.draw_panel
    monkeypatch.setattr(draw, "draw_panel", lambda *a: drawn.append(panel(*a)) or drawn[-1])
    words = ["--no-curves", "--plot", str(tmp_path / "a.png"), *flag]
    assert cli.main(["compare", *outs, *words]) == 0
    assert [len(found) for found in drawn] == [lines] * 3


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
    paths = [tmp_path / f"{name}{i}.h5" for i in (1, 2)]
    runs = [reader.open(sample.write(path, rounds=2, name=name)) for path in paths]
    draw.draw(runs, tmp_path / "a.svg")
    draw.draw(runs[:1], tmp_path / "b.svg")
    paper.figure(runs, tmp_path / "c.svg")
    for picture in "abc":
        assert f"<!-- {name}" in (tmp_path / f"{picture}.svg").read_text()


def test_a_long_name_fits_the_picture(runs, tmp_path, monkeypatch):
    figures = pytest.importorskip("matplotlib.figure")
    shown = []
    monkeypatch.setattr(draw, "save", lambda figure, path: shown.append(figure))
    monkeypatch.setattr(paper, "save", draw.save)
    name = "n" * 400
    monkeypatch.setattr(draw, "grouped", lambda runs, each: ([[run] for run in runs],
                                                             [name, "b"][: len(runs)]))
    monkeypatch.setattr(paper, "grouped", draw.grouped)
    for columns in (1, 2):
        paper.figure(runs, "a.pdf", columns)
    draw.draw(runs, "a.pdf")
    draw.draw(runs[:1], "a.pdf")
    for figure in shown:
        assert isinstance(figure, figures.Figure)
        figure.draw_without_rendering()
        text = figure.legends[0] if figure.legends else figure._suptitle
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_a_pdf_has_fonts_that_publishers_take(runs, tmp_path):
    pytest.importorskip("matplotlib")
    paper.figure(runs, str(tmp_path / "a.pdf"))
    assert b"/FontFile2" in (tmp_path / "a.pdf").read_bytes()  # TrueType; a Type 3 has none


def test_without_matplotlib_the_extra_is_named(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ResultError, match=r"pip install 'fedmpi\[analysis\]'"):
        draw.draw(runs, tmp_path / "a.png")
