"""A damaged checkpoint or result costs time; losses are reported, the weights are the same."""

import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from fedmpi.comm.base import Serial
from fedmpi.errors import ResultError
from fedmpi.experiment import rebuild, resolve
from fedmpi.experiment.execute import Start, execute
from fedmpi.experiment.rebuild import earlier
from fedmpi.experiment.stop import NoSignals
from fedmpi.record import checkpoint, reader, schema
from tests.cli.test_run import contents, equal
from tests.experiment.test_kept_state import KilledError, killed_after
from tests.faults.job import CONFIG, run_here

ROUNDS = 8
TEXT = CONFIG.format(rounds=ROUNDS, algorithm="Remembers")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a folder with whole.h5 and with killed.h5, killed in round 7 of 8."""
    folder = tmp_path_factory.mktemp("runs")
    run_here(folder / "whole.h5", "Remembers", rounds=ROUNDS)
    given = resolve.resolve(TEXT, "exp.toml", [])
    with pytest.raises(KilledError):
        execute(given, Serial(), Start(out=folder / "killed.h5"), killed_after(7), NoSignals())
    return folder


@pytest.fixture
def out(runs, tmp_path):
    """Return the path of a copy of the run that was killed."""
    for path in runs.glob("killed.h5*"):
        shutil.copy(path, tmp_path / path.name.replace("killed", "out"))
    out = tmp_path / "out.h5"
    rounds = [checkpoint.read(path(out)).facts["next_round"]
              for path in (checkpoint.previous_of, checkpoint.path_of)]
    assert rounds == [3, 6]
    return out


def go_on(out, rebuild=False):
    """Go on with a run in this process, as `fedmpi resume` does; return the warnings."""
    begun = earlier(out, rebuild)
    resolved = begun.resolved(str(out), allow_code=True)
    said = []
    start = Start(out=out, resume=True, rebuild=begun.rebuild, warn=said.append)
    execute(resolved, Serial(), start, lambda row, rounds: None, NoSignals())
    return said


def damage(path, kind):
    """Cut a file short, flip one bit in its middle, or remove it."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data[:-50] if kind == "cut" else data)
    if kind == "gone":
        path.unlink()


@pytest.mark.parametrize("kind", ["cut", "flipped", "gone"])
def test_the_checkpoint_before_is_used_and_the_run_ends_with_the_same_bits(out, runs, kind):
    damage(checkpoint.path_of(out), kind)
    (said,) = go_on(out)
    assert "out.h5.checkpoint: " in said and "the earlier checkpoint is used, of round 3" in said
    equal(contents(out), contents(runs / "whole.h5"))
    assert checkpoint.newest(out)[1] == ""
    with reader.open(out) as run:
        assert said in [event["text"] for event in run.events]


@pytest.mark.parametrize("kind", ["cut", "gone"])
def test_a_result_is_made_again_from_its_checkpoint(out, runs, kind):
    damage(out, kind)
    held = kind != "gone" and out.read_bytes()
    with pytest.raises(ResultError, match=r"out.h5.checkpoint: .* after 6 rounds .*--rebuild"):
        go_on(out)
    (said,) = go_on(out, rebuild=True)
    assert "rebuilt from the checkpoint of round 6: the rows of clients before it" in said
    assert not held or out.with_name("out.h5.damaged").read_bytes() == held
    (digest, tables), (whole, wanted) = contents(out), contents(runs / "whole.h5")
    assert digest == whole
    for name, values in wanted.items():
        kept = np.array(values)
        if name.startswith("clients/"):
            kept = kept[np.array(wanted["clients/round"]) >= 6]
        np.testing.assert_array_equal(tables[name], kept, name)
    with reader.open(out) as run, reader.open(runs / "killed.h5") as before:
        assert run.created == before.created and run.toml == TEXT
        np.testing.assert_array_equal(run.rounds.wall_time[:6], before.rounds.wall_time[:6])


def test_damage_in_the_provenance_alone_is_seen_before_the_start(out):
    with h5py.File(out) as file:
        place = h5py.h5o.get_info(file["provenance"].id).addr
    data = bytearray(out.read_bytes())
    data[place + 8] ^= 4
    out.write_bytes(data)
    with pytest.raises(ResultError, match="--rebuild rebuilds the result"):
        go_on(out)


def test_a_making_that_was_broken_off_can_be_made_again(out, monkeypatch):
    """The damaged file has already moved aside; it is neither lost nor in the way."""
    def killed(*_, **__):
        raise KilledError

    damage(out, "cut")
    held = out.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(rebuild.Writer, "create", killed)
        with pytest.raises(KilledError):
            go_on(out, rebuild=True)
    assert not out.exists()
    go_on(out, rebuild=True)
    assert out.with_name("out.h5.damaged").read_bytes() == held
    with reader.open(out) as run:
        assert run.status == "finished"


def test_the_checkpoint_of_an_older_fedmpi_lacks_later_columns(out, monkeypatch):
    kept = checkpoint.newest(out)[0]
    names = [name for name in kept.columns if name not in schema.SINCE]
    old = SimpleNamespace(columns=names, column=kept.column, fact=kept.fact, path=kept.path)
    monkeypatch.setattr(rebuild, "_newest", lambda path: old)
    damage(out, "gone")
    go_on(out, rebuild=True)
    with reader.open(out) as run:
        assert np.isnan(run.rounds.memory_peak).tolist() == [True] * 6 + [False] * 2
        assert run.info()["memory_peak"] > 1 << 20


def test_nothing_is_lost_by_trying_to_make_a_result_again(out, monkeypatch):
    """Data that have changed are refused, the damaged file stays, and a whole one is left alone."""
    whole = out.read_bytes()
    assert earlier(out, rebuild=True) == earlier(out)
    assert not earlier(out).rebuild
    damage(out, "cut")
    out.with_name("out.h5.damaged").write_bytes(b"precious")
    with pytest.raises(ResultError, match=r"out.h5.damaged: exists already; move it away"):
        go_on(out, rebuild=True)
    assert len(out.read_bytes()) == len(whole) - 50
    for path in (checkpoint.path_of(out), checkpoint.previous_of(out)):
        damage(path, "flipped")
    with pytest.raises(ResultError, match=r"out.h5: damaged"):
        go_on(out, rebuild=True)
