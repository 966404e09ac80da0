"""The summary in words and the figure."""

import sys

import numpy as np
import pytest

from fedmpi import cli
from fedmpi.analysis.partition_summary import draw, rows, text
from fedmpi.analysis.report.page import page
from fedmpi.errors import ConfigError, ResultError
from fedmpi.record import reader
from fedmpi.record.writer import Writer
from tests.record.sample import fixed


def test_summary_of_one_class_each():
    found = dict(rows(np.eye(4, dtype=np.int64) * 5))
    assert found["clients"] == "4" and found["samples"] == "20"
    assert found["effective classes"].startswith("1.0 / 1.0 / 1.0")
    assert found["distance to iid"].startswith("0.75 / 0.75 / 0.75")


def test_summary_of_an_even_mix_with_an_empty_client():
    found = dict(rows(np.array([[2, 2], [1500, 1500], [0, 0]])))
    assert found["clients"] == "3 (1 empty)" and found["samples"] == "3,004"
    assert found["samples per client"].startswith("0 / 4 / 3,000")
    assert found["effective classes"].startswith("2.0 / 2.0 / 2.0")
    assert found["distance to iid"].startswith("0.00 / 0.00 / 0.00")


def test_all_classes_together_have_no_mixes():
    found = dict(rows(np.array([[3], [5]])))
    assert found == {"clients": "2", "samples": "8",
                     "samples per client": "3 / 4 / 5  (min / median / max)"}


@pytest.mark.parametrize("other", [[0, 0], [0, 0, 0]])
def test_targets_that_are_numbers_have_no_classes(tmp_path, other):
    """They count as class 0, however many numbers a sample has."""
    counts = np.array([[3, *other], [5, *other]])
    assert rows(counts) == rows(counts[:, :1])
    writer = Writer.create(tmp_path / "a.h5", **fixed(2) | {"partition_counts": counts})
    writer.finish("failed")
    with reader.open(tmp_path / "a.h5") as run:
        shown = page([run])
    assert "Samples of each client" in shown and "Classes of each client" not in shown
    assert "classes per client" not in shown.lower()


def test_text_has_one_aligned_line_for_each_row():
    counts = np.eye(4, dtype=np.int64)
    lines = text(counts)
    assert lines[0] == "clients             4" and len(lines) == len(rows(counts))


@pytest.mark.parametrize(("clients", "classes"), [(1, 2), (10, 10), (201, 80), (2501, 10)])
def test_draw_makes_a_png_that_is_not_blank(tmp_path, rng, clients, classes):
    image = pytest.importorskip("matplotlib.image")
    counts = rng.integers(0, 5, (clients, classes))
    draw(counts, tmp_path / "who.png", "a title")
    pixels = image.imread(tmp_path / "who.png")
    assert pixels.shape[1] == 1500 and pixels.std() > 0.05


def test_of_a_single_class_only_the_sizes_are_drawn(tmp_path, rng):
    """The classes were one black field, and the clients sorted by a class that they do not have."""
    figure = pytest.importorskip("matplotlib.figure")
    drawn = []

    class Kept(figure.Figure):
        """A Figure that the test sees."""

        def savefig(self, *words, **more):
            drawn.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure, "Figure", Kept)
        draw(rng.integers(1, 9, (201, 1)), str(tmp_path / "who.png"))
    (axes,) = drawn[0].axes
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("samples", "clients, sorted by size")


def test_another_suffix_and_a_missing_matplotlib_are_told(tmp_path, monkeypatch):
    counts = np.eye(4, dtype=np.int64)
    with pytest.raises(ConfigError, match=r"must end in .png, .svg, .pdf"):
        draw(counts, str(tmp_path / "who.txt"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ResultError, match=r"pip install 'fedmpi\[analysis\]'"):
        draw(counts, str(tmp_path / "who.png"))


def test_a_picture_that_cannot_be_drawn_is_refused_before_anything_is_read(tmp_path, capsys):
    """The whole table came first."""
    (tmp_path / "exp.toml").write_text('[data]\nname = "digits"\n')
    assert cli.main(["partition", str(tmp_path / "exp.toml"), "-o", "x.foo"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "x.foo: the name of a picture must end in" in told.err
