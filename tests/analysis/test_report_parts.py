"""The pieces of the report, against numbers worked out by hand."""

import re
from pathlib import Path

import numpy as np
import pytest

from fedmpi.analysis.report.blocks import LEVELS, as_csv, bars, labels, levels
from fedmpi.analysis.report.clients import LABELS
from fedmpi.analysis.report.figure import (
    LEFT,
    PlotArea,
    axes,
    ceiling,
    in_stretches,
    stacks,
    steps,
    thinned,
    ticks,
)
from fedmpi.analysis.report.learning import band
from fedmpi.analysis.report.markup import Html, escaped, join, table, tag
from fedmpi.analysis.report.study import spread, study
from fedmpi.analysis.report.summary import facts, heading
from fedmpi.analysis.report.times import by_tier
from fedmpi.record import reader, schema
from tests.analysis.pages import Page
from tests.record import sample


def test_only_markup_is_markup():
    assert tag("p", "a < b", Html("<b>c</b>"), None, ["&", 3]) == "<p>a &lt; b<b>c</b>&amp;3</p>"
    assert tag("path", d='"><x') == '<path d="&quot;&gt;&lt;x"/>'
    assert tag("input", class_="a", aria_label="b", checked=True, hidden=False, id=None) == (
        '<input class="a" aria-label="b" checked/>')
    assert isinstance(join("<"), Html) and join("<") == "&lt;"
    assert escaped("a\0b\x1b\u202ec\ud800\n\t") == "a\ufffdb\ufffd\ufffdc\ufffd\n\t"
    assert escaped("x" * 30_000).endswith("... (10,000 more characters)")


def test_tables_name_their_rows_and_columns():
    found = Page(table(tag("b", "1 < 2"), ("a", "b"), [("<x>", 3)], right={1}))
    assert found.tables == {"1 < 2": [["a", "b"], ["<x>", "3"]]}
    assert [a.get("scope") for a in found.all("th")] == ["col", "col", "row"]
    assert found.all("td") == [{"class": "n"}]
    assert found.all("div")[0]["aria-label"] == "1 < 2"


def test_labels_of_bars_differ_where_the_names_differ():
    names = ["name=methods-FedPart_rate=0.1", "name=methods-FedPart_rate=0.3",
             "name=methods-FedSelect_rate=0.1", "name=methods-FedSelect_rate=0.3"]
    found = labels(names)
    assert found == ["…FedPar…te=0.1", "…FedPar…te=0.3", "…FedSel…te=0.1", "…FedSel…te=0.3"]
    assert labels(["fedavg", "fedskel"]) == ["fedavg", "fedskel"]  # short enough
    assert labels(["layer_by_layer_1", "layer_by_layer_2"]) == ["…1", "…2"]
    assert labels(["x" * 40] * 2) == ["xxxxxxx…xxxxxx"] * 2 and labels([]) == []
    drawn = bars("t", names, np.ones((4, 1)), [""] * 4, [("up", "up")])
    assert all(f"<title>{name}</title>{label}<" in drawn
               for name, label in zip(names, found, strict=True))


def test_thinned_curves_keep_ends_and_extremes(rng):
    y = rng.random(10_000)
    y[[4321, 8765]] = 2, -1
    keep = thinned(y, 160)
    assert len(keep) <= 160 and (np.diff(keep) > 0).all()
    assert {0, 4321, 8765, 9999} <= set(keep.tolist())
    assert thinned(y[:160], 160).tolist() == list(range(160))


@pytest.mark.parametrize(("n", "most"), [(1, 80), (80, 80), (81, 80), (1000, 80), (7, 3)])
def test_stretches_are_means_of_neighbours(n, most, rng):
    values = rng.random((n, 2))
    means, edges = in_stretches(values, most)
    assert len(means) <= most and edges[0] == 0 and edges[-1] == n
    for mean, start, end in zip(means, edges[:-1], edges[1:], strict=True):
        np.testing.assert_allclose(mean, values[start:end].mean(axis=0))


def test_steps_by_hand():
    path = steps(np.array([0.0, 10, 20, 30]), np.array([5.0, 5, 8]), 100.0)
    assert path == "M0,100H0V5H20V8H30V100Z"


def test_stacked_areas_reach_their_sums():
    frame = PlotArea((0.0, 2.0), (0.0, 10.0))
    drawing = stacks("t", np.array([[1.0, 2], [3, 4]]), np.array([10.0, 0]), frame,
                     [("a", "low"), ("b", "high")], "across")
    areas = {a["class"]: a["d"] for a in Page(drawing).all("path")}
    values = {name: [(200 - float(v)) / 19 for v in re.findall(r"V([\d.]+)", areas[name])]
              for name in ("a", "b")}
    np.testing.assert_allclose(values["a"], [1, 2, 0], atol=0.01)
    np.testing.assert_allclose(values["b"], [4, 6, 0], atol=0.01)
    assert areas["over"] == "M50,10 219,10 219,200 388,200"


def test_levels_cover_every_cell_once(rng):
    values = rng.random((3, 7))
    values[0] = 0
    values[1, 2] = 1e-6
    edges = np.array([0, 2, 4, 6, 8, 10, 12, 13])
    seen = np.zeros((3, 13))
    for path in levels(values, edges):
        (found,) = Page(path).all("path")
        for x, y, w in re.findall(r"M(\d+) (\d+)h(\d+)", found["d"]):
            seen[int(y), int(x) : int(x) + int(w)] += float(found["fill-opacity"])
    expected = np.repeat(values, np.diff(edges), axis=1)
    assert (seen[0] == 0).all() and seen[1, 4] == pytest.approx(1 / LEVELS, abs=1e-3)
    assert (seen - expected >= -1e-3).all() and (seen - expected <= 1 / LEVELS + 1e-3).all()


def test_ticks_are_round_and_inside():
    assert ticks(0, 26, 7) == pytest.approx([0, 5, 10, 15, 20, 25])
    assert ticks(0.12, 0.18, 5) == pytest.approx([0.12, 0.14, 0.16, 0.18])
    assert ceiling(26) == 30
    assert [ceiling(value) for value in (0, 5e-324, 1e-310, float("nan"))] == [1, 1, 1, 1]


@pytest.mark.parametrize("most", [2.3, 99_999, 4.2e5, 3e7, 1e38])
def test_the_numbers_beside_an_axis_fit_there(most):
    drawn = axes(PlotArea((0, 10), (0, ceiling(most))), "rounds")
    numbers = [len(text.rpartition("</text>")[0].rpartition(">")[2]) for text in map(str, drawn)
               if 'class="end"' in text]
    assert numbers and 7 * max(numbers) < LEFT - 6  # a digit is up to 7 units wide


def write(path, accuracy, cost=1.0):
    """Return the Run of a sample of one configuration."""
    return reader.open(sample.write(path, rounds=len(accuracy), accuracy=accuracy, cost=cost))


def test_a_band_joins_points_and_ends_with_the_shortest_run(tmp_path):
    runs = [write(tmp_path / "a.h5", [0.1, np.nan, 0.5, 0.7]),
            write(tmp_path / "b.h5", [0.3, 0.4, 0.7])]
    (group,) = study(runs).groups
    curve = band(group, "rounds", "test_accuracy", "x")
    assert curve.x.tolist() == [1, 2, 3]
    np.testing.assert_allclose(curve.y, [0.2, 0.35, 0.6])
    np.testing.assert_allclose(curve.low, [0.1, 0.3, 0.5])
    np.testing.assert_allclose(curve.high, [0.3, 0.4, 0.7])
    (alone,) = study(runs[:1]).groups
    assert band(alone, "rounds", "test_accuracy", "x").low is None


def test_each_round_is_the_mean_of_the_runs_that_have_it(tmp_path):
    runs = [write(tmp_path / "a.h5", [0.1] * 3), write(tmp_path / "b.h5", [0.3], cost=3.0)]
    (group,) = study(runs).groups
    assert group.each_round(lambda run: run.rounds["bytes_up"]).tolist() == [8000, 4000, 4000]
    assert group.total("bytes_up") == 12_000 and group.last("virtual_time") == 30


def test_spread_is_the_sample_standard_deviation():
    assert spread([0.85, 0.87]) == "0.8600 ± 0.0141"
    assert (spread([0.5]), spread([]), spread([np.nan])) == ("0.5000", "-", "-")


def tiers_of(path, deadline, rows=3, completed=(0, 0)):
    """Return `by_tier` of two rounds of three clients; they end `deadline` s after the slowest.

    The file has the first `rows` of the clients, and two statuses are those of `completed`.
    """
    fixed = sample.fixed() | {"devices": {"tier": ["slow", "fast"] * 3}}
    writer = sample.Writer.create(path, **fixed)
    for number, end in enumerate((4.0, 9.0)):
        row, clients, phases, split = sample.one_round(number, cohort=3)
        clients |= {"client": np.array([0, 1, 3]),
                    "status": np.array([0, 0, 2] if number else [*completed, 2]),
                    "seconds_down": np.array([1.0, 0.5, 9]), "seconds_up": np.array([2.0, 1, 9]),
                    "seconds_compute": np.array([1.0, 0.5, 9]),
                    "virtual_end": np.array([end, end - 3, 0])}  # fmt: skip
        row["virtual_time"] = end + deadline
        clients = {name: values[:rows] for name, values in clients.items()}
        writer.append(row, clients, phases, split)
    writer.commit()
    (group,) = study([reader.open(path)]).groups
    return by_tier(group)


def test_a_round_that_ended_at_a_deadline_was_ended_by_no_tier(tmp_path):
    _, rows, _ = tiers_of(tmp_path / "a.h5", deadline=2.0)
    np.testing.assert_allclose(rows, [[0.5, 0.5, 1, 5, 0], [1, 1, 2, 2, 0]])


def test_a_round_that_nobody_completed_counts_among_the_rounds(tmp_path):
    _, rows, counts = tiers_of(tmp_path / "a.h5", deadline=0.0, completed=(1, 1))
    assert rows[:, 4].tolist() == [0, 0.5]
    assert counts.tolist() == [[1, 1, 2, 0, 0], [1, 1, 0, 0, 0]]


@pytest.mark.parametrize("rows", [0, 2, 3])
def test_outcomes_are_unknown_where_a_file_lacks_rows_of_clients(tmp_path, rows):
    _, found, counts = tiers_of(tmp_path / "a.h5", 0.0, rows)
    assert np.isfinite(counts).all() == np.isfinite(found[:, 4]).all() == (rows == 3)
    assert np.isfinite(found[:, :4]).all() == (rows > 0)


def test_tiers_by_hand(tmp_path):
    names, rows, counts = tiers_of(tmp_path / "a.h5", deadline=0.0)
    assert names == ["fast", "slow"]
    np.testing.assert_allclose(rows, [[0.5, 0.5, 1, 3, 0], [1, 1, 2, 0, 1]])
    assert counts.tolist() == [[2, 0, 2, 0, 0], [2, 0, 0, 0, 0]]


def test_the_title_says_what_differs(tmp_path):
    def title(*files):
        return heading(study([reader.open(path) for path in files]))

    one = sample.write(tmp_path / "a.h5", algorithm="fedavg", name="experiment")
    two = sample.write(tmp_path / "b.h5", algorithm="fedlp", name="experiment")
    assert title(one) == "experiment: fedavg on -"
    assert title(one, two) == "fedavg, fedlp on -"


def test_a_drawing_carries_its_data_up_to_a_length():
    assert as_csv(["a", 'b"'], np.array([[1.0, 0.25], [3e9, 2.0]]), ["up", "down"]) == (
        'name,up,down\n"a",1,0.25\n"b""",3000000000,2')
    assert as_csv(["a"], np.zeros((1, 9999)), range(9999)) is None


def test_every_column_of_the_devices_has_a_head_with_its_unit():
    for name, (unit, _) in schema.DEVICES.items():
        if name != "tier":
            assert LABELS[name].endswith(unit.replace("Gflop", "GFLOP").strip("1")), name


def test_runs_without_noise_have_a_dash_beside_those_with_noise(tmp_path, monkeypatch):
    """The line began with a semicolon: "; epsilon inf"."""
    runs = study([reader.open(sample.write(tmp_path / f"{name}.h5", name=name)) for name in "ab"])
    spent = {"a": "", "b": "epsilon inf"}
    monkeypatch.setattr("fedmpi.analysis.report.summary.epsilon",
                        lambda run: spent[Path(run.path).stem])
    assert "<dt>Privacy at the end</dt><dd>-; epsilon inf</dd>" in str(facts(runs))
    spent["b"] = ""
    assert "Privacy" not in str(facts(runs))
