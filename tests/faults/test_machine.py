"""A machine that misbehaves: full and read-only disks, clocks that jump, ranks that stand still."""

import datetime
import errno
import itertools
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest

import fedmpi
from fedmpi.comm.launch import rank_of
from fedmpi.errors import ResultError
from fedmpi.record import checkpoint
from tests.cli.test_run import contents, equal
from tests.faults.job import Job, rounds_of, run_here, write_config

MORE = ["run.rounds=60"]
SLOW = ["--set", "run.rounds=2", "--set", "clients.local_steps=1000000"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the contents of the undisturbed run."""
    out = tmp_path_factory.mktemp("whole") / "out.h5"
    run_here(out)
    return contents(out)


@pytest.fixture
def disk(tmp_path):
    """Return mount(options) for a small file system of its own at tmp_path/disk."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        return subprocess.run(words, capture_output=True, text=True)

    done = mount("size=2m") if os.geteuid() == 0 else None
    if done is None or done.returncode:
        pytest.skip("needs a small file system, and mounting one needs root: "
                    + (done.stderr.strip() if done else f"user {os.geteuid()}"))
    yield mount
    subprocess.run(["umount", "-l", str(place)], check=True)


def kept(out):
    """Return how many rounds the checkpoint holds; the result file must hold no fewer."""
    rounds = checkpoint.read(checkpoint.path_of(out)).facts["next_round"]
    contents(out)
    assert rounds <= rounds_of(out)
    return rounds


def test_a_full_disk_and_a_read_only_one(tmp_path, disk, whole):
    """Each ends the run in one clear error; with space again, it goes on to the same bits."""
    out, filler = tmp_path / "disk" / "out.h5", tmp_path / "disk" / "filler"
    run_here(out, rounds=20)
    fill(filler)
    with pytest.raises(ResultError, match=r"No space left on device.*unharmed"):
        run_here(out, resume=True, overrides=MORE)
    full = kept(out)
    assert 20 <= full < 60
    assert sorted(p.name for p in out.parent.iterdir()) == [
        "filler", "out.h5", "out.h5.checkpoint", "out.h5.checkpoint.previous"
    ]  # fmt: skip
    disk("remount,ro,size=2m")
    with pytest.raises(ResultError, match="Read-only file system"):
        run_here(out, resume=True, overrides=MORE)
    with pytest.raises(ResultError, match="cannot be written to; choose another"):
        run_here(out.with_name("new.h5"))
    assert kept(out) == full
    disk("remount,rw,size=2m")
    filler.unlink()
    run_here(out, resume=True, overrides=MORE)
    equal(contents(out), whole)


def fill(path):
    """Write a file that fills its disk."""
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_disk_that_fails_to_sync_now_and_then(tmp_path, whole, monkeypatch):
    out, calls, sync = tmp_path / "out.h5", itertools.count(1), os.fsync

    def fails(file):
        if next(calls) % 29 == 0:
            raise OSError(errno.EIO, "Input/output error")
        sync(file)

    monkeypatch.setattr(os, "fsync", fails)
    failures = 0
    while not out.exists() or fedmpi.open(out).status != "finished":
        try:
            run_here(out, resume=out.exists())
        except ResultError as error:
            assert "Input/output error" in str(error) and "unharmed" in str(error)  # noqa: PT017
            failures += 1
            kept(out)
    assert failures >= 2
    equal(contents(out), whole)


def test_no_result_depends_on_the_clock(tmp_path, whole, monkeypatch):
    jumps, now = itertools.cycle([9e5, -4e5, 7e5, -1e6]), time.time()

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(time.time(), tz)

    out = tmp_path / "out.h5"
    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now + next(jumps))
        patch.setattr("fedmpi.record.writer.datetime", Jumping)
        run_here(out, overrides=["run.rounds=30"])
        run_here(out, resume=True, overrides=["run.rounds=60", "run.eval_every=20"])
    with fedmpi.open(out) as run:
        assert (np.diff(run.rounds.wall_time) > 0).all()
        assert run.rounds.wall_time[-1] < time.monotonic() - began
        assert run.created[:10] != datetime.datetime.fromtimestamp(now).isoformat()[:10]
        assert run.weights_sha256 == whole[0]


def number_of(rank):
    """Return the rank's own number, from its environment."""
    return rank_of(rank.environ())


@contextmanager
def stopped(ranks):
    """Stop processes while the block runs."""
    for rank in ranks:
        rank.suspend()
    try:
        yield
    finally:
        for rank in ranks:
            rank.resume()


def test_ranks_that_stand_still_are_named_with_what_the_system_says_of_them(tmp_path, whole):
    out = tmp_path / "out.h5"
    words = ["run", write_config(tmp_path), "-o", out, "--quiet", "--set", "run.watch_s=2"]
    with Job(tmp_path, *words, ranks=3) as job:
        job.wait_for(lambda: rounds_of(out) > 0)
        ranks = sorted(job.ranks(), key=number_of)
        for some in ([1, 2], [0]):
            told = [
                f"rank {n} on {os.uname().nodename} has not moved for 2 s (round " for n in some
            ] + [f"kill -CONT {ranks[n].pid} lets it go on" for n in some]
            with stopped([ranks[n] for n in some]):
                job.wait_for(lambda: all(words in job.text() for words in told), 20)  # noqa: B023
        assert job.end() == 0, job.text()
        assert job.text().count("has not moved") == 3
    equal(contents(out), whole)
    with fedmpi.open(out) as run:
        told = sorted(event["text"] for event in run.events if event["kind"] == "warning")
    # Rank 0 writes what it has seen itself.
    assert len(told) == 2 and "rank 1" in told[0] and "rank 2" in told[1]


def test_a_client_that_never_ends_is_named_with_its_place_in_the_code(tmp_path, whole):
    """The process lives, and the others wait for it inside MPI: neither counts as hanging."""
    out, config = tmp_path / "out.h5", write_config(tmp_path, algorithm="Hangs")
    (tmp_path / "hang").touch()
    words = ["run", config, "-o", out, "--quiet", "--set", "run.watch_s=1"]
    with Job(tmp_path, *words, ranks=2) as job:
        named = "has made no step for 5 s (round 5, client "
        job.wait_for(lambda: named in job.text())
        time.sleep(2)
        assert job.text().count(named) == 1, job.text()
        assert "own.py:" in job.text() and " message" in job.text()
        (tmp_path / "hanging").unlink()
        assert job.end() == 0, job.text()
    equal(contents(out), whole)


def interrupt(job, process):
    """Send SIGINT twice, and see that nothing of the job runs five seconds later."""
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert job.process.poll() is None  # the client in hand takes much longer
    process.send_signal(signal.SIGINT)
    job.seconds_to_end(5)


def test_a_second_interrupt_leaves_at_once_with_the_last_checkpoint(tmp_path, whole):
    out = tmp_path / "out.h5"
    with Job(tmp_path, "run", write_config(tmp_path), "-o", out, "--quiet", ranks=2) as job:
        job.wait_for(checkpoint.path_of(out).exists)
        first, second = sorted(job.ranks(), key=number_of)
        second.suspend()  # so that the other waits for it inside MPI, where Python hears nothing
        time.sleep(0.5)
        interrupt(job, first)
        assert job.end() == 130, job.text()
    assert 0 < kept(out) < 60
    run_here(out, resume=True)
    equal(contents(out), whole)


def test_a_second_interrupt_in_the_middle_of_training(tmp_path):
    out = tmp_path / "out.h5"
    with Job(tmp_path, "run", write_config(tmp_path), "-o", out, "--quiet", *SLOW) as job:
        job.wait_for(out.exists)
        time.sleep(0.3)
        interrupt(job, job.ranks()[0])
        assert job.end() == 130, job.text()
        assert "interrupted" in job.text() and "Traceback" not in job.text()
    assert rounds_of(out) == 0
