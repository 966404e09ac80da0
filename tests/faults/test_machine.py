"""A machine that misbehaves: full and read-only disks, clocks that jump, ranks that stand still."""

import datetime
import itertools
import os
import signal
import subprocess
import time

import numpy as np
import pytest

import fedmpi
from fedmpi.errors import ResultError
from fedmpi.record import checkpoint
from tests.cli.test_run import contents, equal
from tests.faults.job import Job, rounds_of, run_here, write_config

SLOW = ["--set", "run.rounds=2", "--set", "clients.local_steps=1000000"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the contents of the run that nothing happened to."""
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

    done = mount("size=200k") if os.geteuid() == 0 else None
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
    out = tmp_path / "disk" / "out.h5"
    with pytest.raises(ResultError, match=r"No space left on device.*unharmed"):
        run_here(out)
    full = kept(out)
    assert 0 < full < 60
    assert sorted(p.name for p in out.parent.iterdir()) == ["out.h5", "out.h5.checkpoint"]
    disk("remount,ro,size=2m")
    with pytest.raises(ResultError, match="Read-only file system"):
        run_here(out, resume=True)
    with pytest.raises(ResultError, match="cannot be written to; choose another"):
        run_here(out.with_name("new.h5"))
    assert kept(out) == full
    disk("remount,rw,size=2m")
    run_here(out, resume=True)
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
    return int(rank.environ()["PMI_RANK"])


def test_a_rank_that_stands_still_is_named(tmp_path, whole):
    out = tmp_path / "out.h5"
    words = ["run", write_config(tmp_path), "-o", out, "--quiet", "--set", "run.watch_s=1"]
    with Job(tmp_path, *words, ranks=2) as job:
        job.wait_for(lambda: rounds_of(out) > 0)
        for rank in sorted(job.ranks(), key=number_of, reverse=True):
            number = number_of(rank)
            words = f"rank {number} on {os.uname().nodename} has not moved for 1 s (round "
            rank.suspend()
            try:
                job.wait_for(lambda: words in job.text(), 20)  # noqa: B023
            finally:
                rank.resume()
        assert job.end() == 0, job.text()
        assert job.text().count("has not moved") == 2
    equal(contents(out), whole)
    with fedmpi.open(out) as run:
        told = [event["text"] for event in run.events if event["kind"] == "warning"]
    assert len(told) == 1 and "rank 1" in told[0]  # rank 0 writes what it has seen itself


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
