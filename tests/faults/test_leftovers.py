"""Files beside a result belong to its run or are not used; other leftovers are removed."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

import fedmpi
from fedmpi.errors import ResultError
from fedmpi.experiment import assemble
from fedmpi.record import atomic, checkpoint, lock
from fedmpi.record.atomic import replacement
from fedmpi.round.memories import ClientStore, pack
from tests.cli.test_run import contents, equal
from tests.conftest import FORK
from tests.faults.job import Job, run_here, write_config

ROUNDS = 6
OTHER_SEED = ["run.seed=4"]


@pytest.fixture
def out(tmp_path):
    """Return the path of a finished run."""
    run_here(tmp_path / "out.h5", rounds=ROUNDS)
    return tmp_path / "out.h5"


def test_a_checkpoint_of_another_run_is_not_taken_up(out):
    path = checkpoint.path_of(out)
    foreign = path.read_bytes()
    run_here(out, overrides=OTHER_SEED, rounds=ROUNDS, overwrite=True)
    good, own = contents(out), path.read_bytes()
    assert own != foreign
    path.write_bytes(foreign)
    with pytest.raises(ResultError, match="belongs to another run"):
        run_here(out, resume=True)
    assert contents(out)[0] == good[0]
    path.write_bytes(own)
    run_here(out, resume=True)
    equal(contents(out), good)


def test_the_checkpoint_of_an_overwritten_run_is_gone_or_ignored(out, monkeypatch):
    """Killed between the new result file and the removal, the run starts from its own."""
    def killed(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            run_here(out, overrides=OTHER_SEED, rounds=ROUNDS, overwrite=True)
    assert checkpoint.path_of(out).exists()
    run_here(out, resume=True)
    calm = out.with_name("calm.h5")
    run_here(calm, overrides=OTHER_SEED, rounds=ROUNDS)
    equal(contents(out), contents(calm))


def test_a_missing_checkpoint_does_not_cost_the_result(out):
    good, path = contents(out), checkpoint.path_of(out)
    path.unlink()
    checkpoint.previous_of(out).unlink()
    with pytest.raises(ResultError, match=f"{path.name}: is missing"):
        run_here(out, overrides=["run.rounds=9"], resume=True)
    equal(contents(out), good)


@pytest.mark.parametrize("change", [{"next_round": -1}, {"next_round": 2.0}, {"virtual_time": "x"},
                                    {"virtual_time": float("nan")}, {"run": None}])
def test_facts_that_cannot_be_are_refused(out, change):
    kept = checkpoint.read(checkpoint.path_of(out))
    good = contents(out)
    with checkpoint.writing(kept.path, kept.facts | change) as put:
        put.array("algorithm/weights", kept.arrays["algorithm/weights"])
    with pytest.raises(ResultError, match=f"its {next(iter(change))} is"):
        run_here(out, resume=True)
    equal(contents(out), good)


@pytest.mark.parametrize("weights", ["float64", "shorter", "none"])
def test_a_checkpoint_of_another_model_is_refused(out, weights):
    kept = checkpoint.read(checkpoint.path_of(out))
    array = kept.arrays["algorithm/weights"]
    with checkpoint.writing(kept.path, kept.facts) as put:
        if weights != "none":
            changed = array.astype("f8") if weights == "float64" else array[:-1]
            put.array("algorithm/weights", changed)
    with pytest.raises(ResultError, match="does not fit the model of 1,210 parameters"):
        run_here(out, resume=True)
    with fedmpi.open(out) as run:
        assert run.status == "finished"


@pytest.mark.parametrize("client", [-1, 12, 2**63])
def test_the_memory_of_a_client_that_is_none_is_refused(out, client):
    kept = checkpoint.read(checkpoint.path_of(out))
    with checkpoint.writing(kept.path, kept.facts) as put:
        put.array("algorithm/weights", kept.arrays["algorithm/weights"])
        put.client(client, pack({}))
    with pytest.raises(ResultError, match="a client that this run does not have"):
        run_here(out, resume=True)


def test_two_who_replace_one_file_do_not_mix(out, monkeypatch):
    monkeypatch.setattr(atomic, "PATIENCE", 0.1)
    good = out.read_bytes()
    with replacement(out) as part:
        Path(part).write_bytes(b"ours")
        with pytest.raises(OSError, match="another run is writing it"), replacement(out):
            raise AssertionError("never reached")
        assert Path(part).read_bytes() == b"ours" and out.read_bytes() == good
    assert out.read_bytes() == b"ours" and not Path(part).exists()
    with replacement(out) as part:
        Path(part).write_bytes(good)
    contents(out)


def test_a_run_that_is_alive_is_not_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BRIEF", 0.1)
    out, calm = tmp_path / "out.h5", tmp_path / "calm.h5"
    run_here(calm, rounds=ROUNDS)
    with Job(tmp_path, "run", write_config(tmp_path, ROUNDS), "-o", out, "--quiet") as job:
        alive = Path(f"{out}.alive")
        job.wait_for(lambda: alive.exists() and alive.read_text())  # before there is a result
        for how in ({}, {"resume": True}, {"overwrite": True}):
            job.wait_for(out.exists if how else lambda: True)
            job.process.send_signal(signal.SIGSTOP)
            with pytest.raises(ResultError, match=r"process \d+ on .* is writing it"):
                run_here(out, rounds=ROUNDS, **how)
            job.process.send_signal(signal.SIGCONT)
        assert job.end() == 0, job.text()
    equal(contents(out), contents(calm))
    assert not list(tmp_path.glob("out.h5.alive"))


def on_the_disk(process, folder):
    """Return the bytes of the files without a name that a process has open in `folder`."""
    sizes = []
    for file in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(OSError):
            target = os.readlink(file)
            if target.startswith(f"{folder}/") and target.endswith(" (deleted)"):
                sizes.append(file.stat().st_size)
    return sum(sizes)


def forgetful(out, folder):
    """Run in this process, with almost no memory for the clients' memories."""
    assemble.ClientStore = lambda homes, limit: ClientStore(homes, 10_000, folder)
    run_here(out, "Remembers", rounds=10_000)


def test_a_killed_run_leaves_nothing_of_what_its_clients_remember(tmp_path):
    folder, out = tmp_path / "scratch", tmp_path / "out.h5"
    folder.mkdir()
    process = FORK.Process(target=forgetful, args=(out, folder))
    process.start()
    end = time.monotonic() + 60
    while not (checkpoint.path_of(out).exists() and on_the_disk(process, folder)):
        assert process.is_alive() and time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not list(folder.iterdir())
    done = checkpoint.read(checkpoint.path_of(out)).facts["next_round"]
    run_here(out, resume=True, overrides=[f"run.rounds={done + 5}"])
    run_here(tmp_path / "calm.h5", "Remembers", rounds=done + 5)
    equal(contents(out), contents(tmp_path / "calm.h5"))
