"""The writer: values that it takes and refuses, its commits, and writing on after a cut."""

import os

import h5py
import numpy as np
import pytest

from fedmpi.errors import ResultError
from fedmpi.record import reader, schema, writer
from fedmpi.record.digest import weights_sha256
from fedmpi.record.writer import Writer
from tests.record import sample


def contents(path, without=("updated", "created")):
    """Return everything in the file, as plain values."""
    found = {}

    def note(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = repr(item[()].tolist())  # as text, where NaN equals NaN
        found[name, "attributes"] = {k: str(v) for k, v in item.attrs.items()}

    with h5py.File(path) as file:
        file.visititems(note)
        found |= {k: str(v) for k, v in file.attrs.items() if k not in without}
    return found


@pytest.fixture
def path(tmp_path):
    """Return the name of a file that is not there yet."""
    return tmp_path / "out.h5"


@pytest.fixture
def new(path):
    """Return a Writer of an empty file."""
    return Writer.create(path, **sample.fixed())


def test_what_goes_in_comes_out(new, path):
    given = [sample.one_round(number) for number in range(3)]
    for arguments in given:
        new.append(*arguments)
    new.event("warning", "smoke")
    model = sample.weights()
    new.finish("finished", model, weights_sha256(model))
    run = reader.open(path)
    for i, (row, clients, phases, layers) in enumerate(given):
        assert {n: run.rounds[n][i] for n in run.rounds} == row
        mine = run.clients["round"] == i
        for name, values in clients.items():
            np.testing.assert_array_equal(run.clients[name][mine], values)
        for name, seconds in zip(schema.PHASES, phases, strict=True):
            np.testing.assert_array_equal(run.phases[name][i], seconds)
        for name, values in layers.items():
            np.testing.assert_array_equal(run.layers[name][i], values)
    assert (run.status, run.ranks, len(run.rounds), run.toml) == ("finished", 2, 3, sample.TOML)
    assert run.config == sample.fixed()["resolved"]
    np.testing.assert_array_equal(run.partition, sample.fixed()["partition_counts"])
    assert run.devices.tier.tolist() == ["fast", "slow"] * 3
    assert run.provenance["hosts"] == ["a", "b"]
    assert [(e["kind"], e["round"], e["text"]) for e in run.events] == [("warning", 3, "smoke")]
    found = run.model()
    assert list(found) == list(model)  # in the order of the model, not of the alphabet
    assert all(np.array_equal(found[n], model[n]) for n in model)


def test_rows_may_be_a_structured_array_and_there_may_be_none(new, path):
    row, clients, phases, layers = sample.one_round(0)
    names = list(clients)
    table = np.zeros(4, [(n, clients[n].dtype) for n in names])
    for name in names:
        table[name] = clients[name]
    new.append(row, table, phases, layers)
    new.append(*sample.one_round(1, cohort=0))
    new.commit()
    assert reader.open(path).clients["round"].tolist() == [0] * 4


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (0, {"test_acuracy": 1.0}, "test_acuracy is unknown"),
        (0, {"flops": None}, "rounds/flops is 'None', must be whole numbers"),
        (0, {"flops": 1.5}, "rounds/flops is '1.5', must be whole numbers"),
        (0, {"train_loss": "low"}, "rounds/train_loss is 'low', must be a number"),
        (0, {"train_loss": [1.0, 2.0]}, r"rounds/train_loss has shape \(2,\)"),
        (0, {"round": -1}, "its number -1 does not follow -1"),
        (1, {"round": [5] * 4}, "clients.round must be 0"),
        (1, {"status": [300] * 4}, "clients/status does not fit into uint8"),
        (1, {"rank": [2**40] * 4}, "clients/rank does not fit into int32"),
        (1, {"kept": [1.0] * 3}, r"clients/kept has shape \(3,\), must be \(4,\)"),
        (3, {"kept": [1.0] * 2}, r"layers/kept has shape \(2,\), must be \(3,\)"),
    ],
)
def test_a_wrong_row_is_refused_by_name_and_leaves_nothing(new, path, which, change, message):
    arguments = list(sample.one_round(0))
    arguments[which] = arguments[which] | change
    with pytest.raises(ResultError, match=message):
        new.append(*arguments)
    assert new.rounds == 0
    new.append(*sample.one_round(0))
    new.commit()
    assert len(reader.open(path).rounds) == 1


@pytest.mark.parametrize(
    ("which", "group", "name"),
    [(0, "rounds", "flops"), (1, "clients", "kept"), (3, "layers", "bytes_up")],
)
def test_a_missing_column_is_named(new, which, group, name):
    arguments = sample.one_round(0)
    del arguments[which][name]
    with pytest.raises(ResultError, match=f"columns of {group}: {name} is missing"):
        new.append(*arguments)


def test_phases_of_other_ranks_are_refused(new):
    row, clients, _, layers = sample.one_round(0)
    with pytest.raises(ResultError, match=r"phases have shape \(7, 3\), must be \(7, 2\)"):
        new.append(row, clients, np.zeros((7, 3)), layers)


def test_numbers_of_rounds_only_grow(new):
    new.append(*sample.one_round(4))
    with pytest.raises(ResultError, match="its number 4 does not follow 4"):
        new.append(*sample.one_round(4))


def test_a_target_is_checked_before_anything_is_written(tmp_path, path):
    sample.made(path)
    before = path.read_bytes()
    with pytest.raises(ResultError, match="exists; choose another name or add --overwrite"):
        Writer.create(path, **sample.fixed())
    assert path.read_bytes() == before
    Writer.create(path, **sample.fixed(), overwrite=True)
    assert len(reader.open(path).rounds) == 0
    with pytest.raises(ResultError, match="does not exist; make it first"):
        writer.check_target(tmp_path / "no" / "out.h5")
    with pytest.raises(ResultError, match="is a folder; name a file in it"):
        writer.check_target(tmp_path)
    text = tmp_path / "config.toml"
    text.write_text("[run]")
    with pytest.raises(ResultError, match="is not a result file, so it is not overwritten"):
        Writer.create(text, **sample.fixed(), overwrite=True)
    assert text.read_text() == "[run]"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_access_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ResultError, match="cannot be written to"):
            writer.check_target(tmp_path / "out.h5")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"devices": {"tier": ["fast"]}}, r"devices.tier has shape \(1,\), must be \(6,\)"),
        ({"provenance": {"a/b": 1}}, "'a/b' cannot be a name"),
        ({"provenance": {"f": open}}, "is not text, number or list"),
        ({"resolved": {"f": open}}, "not JSON serializable"),
        ({"partition_counts": np.zeros(6, int)}, "partition/counts has 1 axes"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_no_file(path, change, message):
    with pytest.raises(ResultError, match=message):
        Writer.create(path, **sample.fixed() | change)
    assert not list(path.parent.iterdir())


def test_a_path_in_another_code_than_utf_8_does_not_spoil_the_result(path):
    odd = os.fsdecode(b"caf\xe9.toml")
    writer = Writer.create(path, **sample.fixed() | {"provenance": {"word": odd, "words": [odd]}})
    writer.event("warning", odd)
    writer.commit()
    run = reader.open(path)
    assert run.provenance == {"word": "caf?.toml", "words": ["caf?.toml"]}
    assert run.events[0]["text"] == "caf?.toml"


def test_a_link_stays_a_link(tmp_path):
    real = tmp_path / "far.h5"
    link = tmp_path / "near.h5"
    link.symlink_to(real)
    sample.made(link)
    assert link.is_symlink()
    assert reader.open(real).status == "finished"


def test_an_event_that_is_cut_says_so(path):
    writer = Writer.create(path, **sample.fixed())
    writer.event("rejected", "ä" * 300)
    writer.event("rejected", "b" * 480)
    writer.finish("stopped")
    long, whole = (event["text"] for event in reader.open(path).events)
    assert long.endswith("ä…") and 477 <= len(long.encode()) <= 480
    assert whole == "b" * 480


@pytest.mark.parametrize("kept", [0, 3, 7])
def test_a_run_cut_and_continued_equals_one_never_stopped(tmp_path, kept):
    whole = sample.made(tmp_path / "whole.h5", rounds=7)
    path = sample.made(tmp_path / "parts.h5", rounds=7)
    again = Writer.reopen(path, kept)
    run = reader.open(path)
    assert (run.status, len(run.rounds), len(run.clients)) == ("running", kept, 4 * kept)
    assert run.weights_sha256 is None
    for number in range(kept, 7):
        again.append(*sample.one_round(number))
    again.finish("finished", sample.weights(), weights_sha256(sample.weights()))
    assert contents(path) == contents(whole)


def test_the_version_is_that_of_the_last_start(path, monkeypatch):
    sample.made(path, rounds=2, status="stopped")
    monkeypatch.setattr(writer, "__version__", "9.9")
    Writer.reopen(path, 2)
    assert reader.open(path).software_version == "9.9"


def test_a_run_may_go_on_with_other_ranks(path):
    sample.made(path, rounds=2, ranks=2, status="stopped")
    more = Writer.reopen(path, 2, ranks=3)
    more.append(*sample.one_round(2, ranks=3))
    more.finish("stopped")
    fewer = Writer.reopen(path, 3, ranks=1)
    fewer.append(*sample.one_round(3, ranks=1))
    fewer.commit()
    run = reader.open(path)
    assert run.ranks == 1
    expected = [[0, 0, np.nan], [1, 1, np.nan], [2, 2, 2], [3, np.nan, np.nan]]
    np.testing.assert_array_equal(run.phases["train"], expected)


def test_a_cut_beyond_the_file_is_refused_and_changes_nothing(path):
    sample.made(path, rounds=3)
    before = path.read_bytes()
    with pytest.raises(ResultError, match="holds 3 rounds, so it cannot go on after 4"):
        Writer.reopen(path, 4)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["out.h5"]


@pytest.mark.parametrize("take", [
    lambda path: Writer.create(path, **sample.fixed(), overwrite=True),
    lambda path: Writer.reopen(path, 0),  # with as many rounds as before
])
def test_two_runs_that_write_one_file_are_told(new, path, take):
    take(path)
    new.append(*sample.one_round(0))
    with pytest.raises(ResultError, match="another run has written this file since round 0"):
        new.commit()
    path.unlink()
    with pytest.raises(ResultError, match="is gone; it was moved or removed"):
        new.commit()
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_file_is_never_replaced(tmp_path, overwrite):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for place in ("/dev/null", tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(ResultError, match="is a device, pipe or socket"):
            writer.check_target(place, overwrite)
    with pytest.raises(ResultError, match="is a folder"):
        writer.check_target(tmp_path, overwrite)
