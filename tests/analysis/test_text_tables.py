"""Tables as text: they read back to the same numbers."""

import csv
import io
import json
from dataclasses import dataclass

import numpy as np
import pytest

from fedmpi import cli
from fedmpi.analysis import quantities, text_tables
from fedmpi.errors import ConfigError
from fedmpi.record import reader, schema
from tests.record import sample


@pytest.fixture
def run(tmp_path):
    """Return a run of three rounds, the second without evaluation."""
    accuracy = [0.1, np.nan, 1 / 3]
    return reader.open(sample.write(tmp_path / "out.h5", rounds=3, accuracy=accuracy, cohort=5))


@pytest.mark.parametrize(("form", "separator"), [("tsv", "\t"), ("csv", ",")])
def test_rounds_read_back_to_the_same_bits(run, form, separator):
    text = "\n".join(text_tables.table(run, format=form))
    rows = list(csv.DictReader(io.StringIO(text), delimiter=separator))
    assert list(rows[0]) == [c.name for c in schema.ROUNDS]
    for name in run.rounds:
        found = np.array([float(row[name]) for row in rows])
        np.testing.assert_array_equal(found, run.rounds[name])


def test_json_has_null_for_nan(run):
    rows = json.loads("\n".join(text_tables.table(run, format="json")), parse_constant=pytest.fail)
    assert [row["test_accuracy"] for row in rows] == [0.1, None, 1 / 3]
    assert list(rows[0]) == list(run.rounds)


def test_columns_come_in_the_order_asked_for(run):
    assert list(text_tables.table(run, columns=["bytes_up", "round"])) == [
        "bytes_up\tround", "5000\t0", "5000\t1", "5000\t2",
    ]


def test_the_status_of_clients_is_a_word(run):
    lines = list(text_tables.table(run, clients=True, columns=["client", "status"]))
    assert lines[:3] == ["client\tstatus", "0\tcompleted", "1\tlate"]
    assert len(lines) == 16


@pytest.mark.parametrize("form", ["csv", "json"])
def test_rows_are_made_block_by_block_and_equal_those_made_at_once(tmp_path, monkeypatch, form):
    writer, made = sample.Writer.create(tmp_path / "a.h5", **sample.fixed(clients=30)), []
    row, clients, *rest = sample.one_round(0, cohort=23)
    clients["train_loss"] = np.resize([0.0, -0.0, np.nan, -0.0, 0.0, 1 / 3], 23)
    clients["virtual_end"] = np.sqrt(np.arange(23))
    writer.append(row, clients, *rest)
    writer.commit()
    values = text_tables._values
    monkeypatch.setattr(text_tables, "BLOCK", 5)
    monkeypatch.setattr(text_tables, "_values",
                        lambda block, form: made.append(len(block)) or values(block, form))
    names = ["client", "train_loss", "virtual_end", "status"]
    run = reader.open(tmp_path / "a.h5")
    lines = text_tables.table(run, clients=True, columns=names, format=form)
    first = [next(lines), next(lines)]
    assert made == [5] * 4  # of the 23 rows, only the first block
    found = "\n".join([*first, *lines])
    words = [schema.CLIENT_STATUS[code] for code in clients["status"]]
    rows = list(zip(*(clients[name].tolist() for name in names[:3]), words, strict=True))
    if form == "csv":
        assert found.split("\n") == [",".join(map(str, row)) for row in [names, *rows]]
    else:
        nulls = [[None if x != x else x for x in row] for row in rows]
        assert repr([list(row.values()) for row in json.loads(found)]) == repr(nulls)


def test_no_rounds(tmp_path):
    run = reader.open(sample.write(tmp_path / "a.h5", rounds=0))
    assert json.loads("\n".join(text_tables.table(run, format="json"))) == []
    assert len(list(text_tables.table(run))) == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"columns": ["round", "round"]}, "column 'round' is named twice"),
        ({"columns": ["test_acuracy"]}, "column 'test_acuracy' does not exist; did you mean test"),
        ({"columns": ["?"]}, "known: round, virtual_time"),
        ({"columns": []}, "none given"),
        ({"columns": ["kept"]}, "column 'kept' does not exist"),
        ({"format": "xls"}, "format 'xls': must be one of tsv, csv, json"),
    ],
)
def test_bad_questions(run, asked, message):
    with pytest.raises(ConfigError, match=message):
        text_tables.table(run, **asked)


def test_a_list_of_columns_without_a_name_is_refused(run, capsys):
    assert cli.main(["table", run.path, "--columns", " "]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "columns: none given; known: round" in shown.err


def test_the_core_of_a_rank_is_no_number_of_cores(tmp_path):
    fixed = sample.fixed() | {"provenance": {"cores": [0, 3, -1]}}
    sample.Writer.create(tmp_path / "a.h5", **fixed).commit()
    text = text_tables.info_text(reader.open(tmp_path / "a.h5"))
    rows = dict(line.split(None, 1) for line in text.splitlines())
    assert rows["provenance.cores"] == "core 0, core 3, -"


def test_info_text_names_what_people_look_for(run):
    rows = dict(line.split(None, 1) for line in text_tables.info_text(run).splitlines())
    assert (rows["status"], rows["rounds"], rows["ranks"]) == ("finished", "3", "2")
    assert rows["weights_sha256"] == run.weights_sha256
    assert rows["config.algorithm.name"] == "fedavg"
    assert rows["provenance.hosts"] == "a, b"
    assert (rows["final_accuracy"], rows["bytes_up"]) == ("0.3333", "15 kB")
    assert (rows["memory_peak"], rows["busy"]) == ("402 MB", "14.3 %")
    assert rows["phases.train"] == "14.3 %"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1, "1 B"), (999, "999 B"), (999.9, "1 kB"), (1240, "1.24 kB"), (1e6, "1 MB"),
     (123456789, "123 MB"), (2.5e15, "2500 TB"), (None, "-"), (float("nan"), "-")],
)
def test_bytes_for_people(value, text):
    assert quantities.in_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1.5, "1.5"), (1234, "1234"), (358013, "358013"), (999999.9, "1e6"),
     (-2.5e7, "-2.5e7"), (1e38, "1e38"), (float("inf"), "inf")],
)
def test_numbers_for_people_are_short(value, text):
    assert quantities.digits(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 s"), (0.0123, "12.3 ms"), (1e-5, "0.01 ms"), (59.0, "59 s"), (90, "1.5 min"),
     (7200, "2 h"), (86400 * 3, "3 d"), (None, "-")],
)
def test_seconds_for_people(value, text):
    assert quantities.in_seconds(value) == text


@dataclass
class Pair:
    """A stand-in for a view of a comparison."""

    bytes: int
    share: float


def test_what_is_no_number_is_null_in_json():
    values = {"a": [float("nan"), float("-inf"), 0.1], "view": Pair(1, float("inf"))}
    expected = '{"a": [null, null, 0.1], "view": {"bytes": 1, "share": null}}'
    assert text_tables.as_json(values, None) == expected
