"""The file of measured costs: wrong entries are measured again, and no run needs the file."""

import json
from dataclasses import asdict

import pytest

from fedmpi.comm.reduce import cost

GOOD = asdict(cost.Cost(*[1e-6] * 8))


def test_what_was_kept_comes_back(tmp_path):
    path = tmp_path / "new" / "cost.json"
    cost._write(path, {"here": GOOD})
    cost._write(path, {"here": GOOD, "there": GOOD})
    assert cost._read(path) == {"here": GOOD, "there": GOOD}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "wrong",
    [[], "text", {}, GOOD | {"more": 1.0}, GOOD | {"alpha": "1"}, GOOD | {"alpha": -1.0},
     GOOD | {"alpha": float("nan")}, GOOD | {"alpha": float("inf")}, GOOD | {"alpha": None}],
)
def test_entries_that_are_no_costs_are_left_out(tmp_path, wrong):
    path = tmp_path / "cost.json"
    path.write_text(json.dumps({"wrong": wrong, "good": GOOD}))
    assert cost._read(path) == {"good": GOOD}


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[1, 2]", b"[" * 100_000, b"{\"a\": "])
def test_a_file_that_is_none_knows_nothing(tmp_path, data):
    path = tmp_path / "cost.json"
    path.write_bytes(data)
    assert cost._read(path) == {}


def test_a_place_that_cannot_be_written_does_no_harm(tmp_path):
    (tmp_path / "file").write_text("")
    cost._write(tmp_path / "file" / "cost.json", {"here": GOOD})
    cost._write(tmp_path, {"here": GOOD})
    assert cost._read(tmp_path) == {}
