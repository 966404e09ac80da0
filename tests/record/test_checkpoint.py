"""A checkpoint is whole or absent, returns the values written, and refuses damage."""

import errno
import json
import os
import zlib

import numpy as np
import pytest

from fedmpi.errors import DamagedError, ResultError
from fedmpi.record import checkpoint
from fedmpi.record import checkpoint_parts as parts_of

FACTS = {"run": "2026-01-01", "next_round": 7, "virtual_time": 1.5}
ARRAYS = {
    "weights": np.linspace(-1, 1, 50, dtype=np.float32),
    "mask": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "scalar": np.array(3.5),
    "nothing": np.zeros((0, 5), np.int64),
    "big-endian": np.arange(5, dtype=">i4"),
    "turned": np.arange(6, dtype=np.float64).reshape(2, 3).T,
}
COLUMNS = {"rounds/round": np.arange(7), "layers/kept": np.ones((7, 2))}
CLIENTS = {30: b"memory of 30", 2: b"", 11: b"\0" * 100}


@pytest.fixture
def path(tmp_path):
    """Return the path of a checkpoint with FACTS, ARRAYS and CLIENTS."""
    path = checkpoint.path_of(tmp_path / "out.h5")
    write(path)
    return path


def write(path, facts=FACTS):
    with checkpoint.writing(path, facts) as put:
        for name, array in ARRAYS.items():
            put.array(name, array)
        for name, rows in COLUMNS.items():
            put.column(name, rows)
        for client, data in CLIENTS.items():
            put.client(client, data)


def everything(path):
    kept = checkpoint.read(path)
    for name in kept.columns:
        np.testing.assert_array_equal(kept.column(name), COLUMNS[name])
    return kept.facts, kept.arrays, {client: kept.client(client) for client in kept.clients}


def refused(path, message):
    with pytest.raises(ResultError, match=message) as caught:
        everything(path)
    assert str(path) in str(caught.value)


def test_everything_comes_back(path):
    assert path.name == "out.h5.checkpoint"
    facts, arrays, clients = everything(path)
    assert facts == FACTS and clients == CLIENTS and list(clients) == [2, 11, 30]
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype.newbyteorder("=")
        assert arrays[name].shape == array.shape
        arrays[name][...] = 1  # a copy that may be changed


def test_what_does_not_need_the_arrays_does_not_read_them(path):
    kept = checkpoint.read(path, with_arrays=False)
    assert kept.facts == FACTS and kept.arrays == {} and kept.client(30) == CLIENTS[30]


def test_arrays_are_named_by_their_part(tmp_path):
    """Arrays come back by part, and a name may hold spaces and slashes."""
    parts = {
        "algorithm": {"weights": np.ones(3, np.float32), "flights": np.zeros(2)},
        "selector": {},
        "cohorts": {"table": np.eye(2), "3/weights": np.arange(4)},
        "stage/0": {"error of it": np.ones(1)},
        "stage/12": {"clip": np.zeros(())},
    }
    path = tmp_path / "kept"
    with checkpoint.writing(path, {}) as put:
        for name, array in parts_of.by_name(parts).items():
            put.array(name, array)
    found = parts_of.by_part(checkpoint.read(path))
    assert {part: list(arrays) for part, arrays in found.items()} == {
        part: list(arrays) for part, arrays in parts.items()
    }
    np.testing.assert_array_equal(found["cohorts"]["3/weights"], np.arange(4))


def by_part(*names):
    return parts_of.by_part(checkpoint.Checkpoint("kept", {}, dict.fromkeys(names), {}))


def test_a_checkpoint_without_parts_is_the_state_of_the_algorithm():
    assert by_part("weights", "control", "flights", "flights 3 weights", "flights of birds") == {
        "algorithm": {"weights": None, "control": None, "flights of birds": None},
        "selector": {},
        "cohorts": {"table": None, "3/weights": None},
    }
    assert by_part() == {"algorithm": {}, "selector": {}, "cohorts": {}}


@pytest.mark.parametrize("name", ["moon/x", "stage/x", "stage/one/x", "algorithm", "cohorts/", ""])
def test_an_array_of_an_unknown_part_is_refused(name):
    with pytest.raises(ResultError, match=r"kept: array .* belongs to no part .*\(algorithm, "):
        by_part("algorithm/weights", name)


def test_every_altered_byte_is_seen(path):
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        refused(path, "start the run again")


def test_every_cut_is_seen(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(path, "is not a checkpoint|cut short")
    path.write_bytes(whole + b"x")
    refused(path, "index|cut short")


@pytest.mark.parametrize("raised", [RuntimeError("own"), KeyboardInterrupt(), OSError(28, "full")])
def test_a_block_that_raises_leaves_the_one_before(path, raised, tmp_path):
    before = path.read_bytes()
    kind = ResultError if isinstance(raised, OSError) else type(raised)
    with pytest.raises(kind), checkpoint.writing(path, {}) as put:  # noqa: PT012
        put.array("weights", ARRAYS["weights"])
        raise raised
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_full_disk_leaves_the_one_before(path, name, monkeypatch, tmp_path):
    def fails(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, name, fails)
    with pytest.raises(ResultError, match=r"No space left .* The earlier checkpoint is unharmed"):
        write(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_the_bytes_are_on_the_disk_before_they_have_the_name(path, monkeypatch):
    path.unlink()
    done, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append(os.fstat(file).st_size), sync(file)))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("name"), replace(*names)))
    write(path)
    assert done[:2] == [path.stat().st_size, "name"]
    assert len(done) == 3  # and the folder after that


def test_the_last_two_are_kept_and_the_newest_whole_one_is_found(path, tmp_path):
    out = tmp_path / "out.h5"
    assert checkpoint.newest(out)[0].facts == FACTS
    for round in (8, 9):
        write(path, FACTS | {"next_round": round})
    assert [checkpoint.read(p).facts["next_round"] for p in sorted(tmp_path.iterdir())] == [9, 8]
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        found, why = checkpoint.newest(out)
        assert found.facts["next_round"] == 8
        assert why.startswith(f"{path}: ") and why.endswith("the earlier checkpoint is used")
    path.unlink()
    assert "is missing" in checkpoint.newest(out)[1]
    checkpoint.previous_of(out).write_bytes(whole[:-1])
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"checkpoint: .*checkpoint.previous: was cut short"):
        checkpoint.newest(out)


def sealed(path, change):
    """Write the checkpoint again with an index that `change` has altered, and sums that fit."""
    data = path.read_bytes()
    place, length, _ = checkpoint.TRAILER.unpack(data[-checkpoint.TRAILER.size :])
    index = json.loads(data[place : place + length])
    change(index)
    text = json.dumps(index).encode()
    trailer = checkpoint.TRAILER.pack(place, len(text), zlib.crc32(text))
    path.write_bytes(data[:place] + text + trailer)


def repeated(index):
    index["arrays"] |= {str(i): index["arrays"]["weights"] for i in range(1000)}


def crowded(index):
    index["clients"] |= {str(i): index["clients"]["11"] for i in range(1000)}


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index["arrays"]["weights"].__setitem__(0, 10**12),
        lambda index: index["arrays"]["weights"].__setitem__(0, -20),
        lambda index: index["arrays"]["weights"].__setitem__(1, 10**18),
        lambda index: index["clients"].__setitem__("2", [0, -1, 2]),
        lambda index: index["arrays"]["weights"].__setitem__(3, "|O"),
        lambda index: index["arrays"]["weights"].__setitem__(3, "<f4,<f4"),
        lambda index: index["arrays"]["weights"].__setitem__(3, ["a"]),
        lambda index: index["arrays"]["weights"].__setitem__(4, [10**9, 10**9]),
        lambda index: index["arrays"]["weights"].__setitem__(4, [-50]),
        lambda index: index["arrays"]["weights"].pop(),
        lambda index: index["arrays"].__setitem__("more", 5),
        lambda index: index["clients"].__setitem__("one", [0, 1, 2]),
        lambda index: index["clients"].__setitem__("2", [0, 10**15, 2]),
        lambda index: index.__setitem__("arrays", []),
        lambda index: index.pop("facts"),
        repeated,
        crowded,
    ],
)
def test_a_hostile_index_is_refused_before_memory_is_taken(path, change):
    sealed(path, change)
    refused(path, "start the run again")


def test_files_that_are_no_checkpoints(tmp_path):
    refused(tmp_path / "none", "No such file")
    refused(tmp_path, "Is a directory")
    (tmp_path / "empty").write_bytes(b"")
    refused(tmp_path / "empty", "is not a checkpoint")


def test_remove_takes_away_what_is_there_and_says_why_it_cannot(path, tmp_path):
    out = tmp_path / "out.h5"
    checkpoint.remove(out)
    assert not path.exists()
    checkpoint.remove(out)
    path.mkdir()
    with pytest.raises(ResultError, match="cannot be removed"):
        checkpoint.remove(out)
