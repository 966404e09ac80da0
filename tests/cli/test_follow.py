"""The verb watch: one line, from the queue over a preemption to an exit code."""

import os

import h5py
import numpy as np
import pytest

import fedmpi
from fedmpi import cli
from fedmpi.cli import follow
from fedmpi.errors import ResultError
from fedmpi.record import heartbeat, reader
from fedmpi.scheduler import NUMBERS, snapshot
from tests.record import sample

SQUEUE = """\
#!/bin/bash
[[ -s $STATE ]] || { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
[[ $(<"$STATE") != down ]] || { echo "slurm_load_jobs error: Socket timed out" >&2; exit 1; }
[[ $* == *--jobs=4711* ]] && cat "$STATE"
"""


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Return queue(text), which sets Slurm's answer on the job of a.h5; "" ends the job."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/squeue").write_text(SQUEUE)
    (tmp_path / "bin/squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("STATE", str(tmp_path / "state"))
    (tmp_path / "a.job").mkdir()
    (tmp_path / "a.job/submitted").write_text("slurm 4711 - -\n")
    return (tmp_path / "state").write_text


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """Return watch(*steps): run the verb, call a step in place of each sleep; its exit code."""
    monkeypatch.setattr(follow, "LINE_EVERY", 0.0)
    clock = [1000.0]
    monkeypatch.setattr(follow, "monotonic", lambda: clock[0])

    def run(*steps):
        steps = iter(steps)

        def sleep(seconds):
            clock[0] += 2 * follow.PATIENCE
            next(steps)()

        monkeypatch.setattr(follow, "sleep", sleep)
        return cli.main(["watch", str(tmp_path / "a.h5")])

    return run


def running(path, rounds):
    """Write a file of a run that goes on, with rounds of half a second and 4 clients."""
    writer = sample.Writer.create(path, **sample.fixed())
    for number in range(rounds):
        writer.append(*sample.one_round(number))
    writer.commit()


def test_a_job_is_followed_from_the_queue_over_a_preemption_to_its_end(
        watch, queue, tmp_path, capsys, monkeypatch):
    out = tmp_path / "a.h5"
    alive = heartbeat.Heartbeat(1.0, "host", 1)
    monkeypatch.setattr("fedmpi.record.reader.last_heartbeat", lambda path: alive)

    def begin():
        queue("RUNNING None\n")
        running(out, 5)

    def preempted():
        nonlocal alive
        alive = heartbeat.Heartbeat(1e6)
        queue("PENDING BeginTime\n")

    def end():
        out.unlink()
        sample.write(out, rounds=7)
        queue("RUNNING None\n")

    queue("PENDING Priority\n")
    assert watch(begin, preempted, end) == 0
    lines = capsys.readouterr().out.splitlines()
    totals = "sent 60 kB  virtual time 50 s"
    assert lines == [
        "a.h5  waits for job 4711 PENDING (Priority)",
        f"sample  round 5/5  accuracy 41.0 %  0 s left  8 clients/s  {totals}  job 4711 RUNNING",
        f"sample  round 5/5  accuracy 41.0 %  0 s left  8 clients/s  {totals}  "
        "waits for job 4711 PENDING (BeginTime)",
        "sample  round 7/7  accuracy 52.2 %  sent 84 kB  virtual time 1.17 min  finished",
    ]


@pytest.mark.parametrize(("status", "code"), [("finished", 0), ("stopped", 75), ("failed", 1)])
def test_the_exit_code_tells_how_it_ended(watch, tmp_path, capsys, status, code):
    sample.write(tmp_path / "a.h5", status=status)
    assert watch() == code and status in capsys.readouterr().out


def test_a_task_without_accuracies_is_followed_by_its_loss(tmp_path):
    for losses, shown in (([4.0, 2.5, np.nan], "test loss 2.5"), ([np.nan] * 3, "sent 36 kB")):
        path = sample.write(tmp_path / "a.h5", rounds=3, accuracy=[np.nan] * 3)
        with h5py.File(path, "r+") as file:
            file["rounds/test_loss"][...] = losses
        with reader.open(path) as run:
            assert follow.facts(run).split("  ")[2] == shown
        path.unlink()


def test_what_cannot_be_followed_is_named(watch, queue, tmp_path, capsys):
    queue("")
    assert watch() == 1
    assert "job 4711 has ended and left no result; its log is" in capsys.readouterr().err
    (tmp_path / "a.job/submitted").unlink()
    assert watch() == 1
    assert "no such file, and no job was submitted for it" in capsys.readouterr().err
    running(tmp_path / "a.h5", 1)
    (tmp_path / "a.h5.alive").write_text("elsewhere 1\n")
    os.utime(tmp_path / "a.h5.alive", (1, 1))
    assert watch() == 1
    assert "the run is no longer alive" in capsys.readouterr().err


def test_a_scheduler_that_does_not_answer_says_nothing_about_the_job(
    watch, queue, tmp_path, capsys
):
    """A job that waited was said to have ended."""
    queue("PENDING Priority\n")

    def ends():
        queue("")
        sample.write(tmp_path / "a.h5", status="finished")

    assert watch(lambda: queue("down\n"), lambda: None, ends) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "a.h5  waits for job 4711 PENDING (Priority)"
    assert lines[1] == f"a.h5  waits for job 4711 {snapshot.UNKNOWN}"


def test_a_run_whose_job_may_still_wait_is_refused(queue, tmp_path, monkeypatch):
    for name in NUMBERS:
        monkeypatch.delenv(name, raising=False)
    for answer, said in (("down\n", "may wait in the queue"), ("PENDING\n", "which is PENDING")):
        queue(answer)
        with pytest.raises(ResultError, match=f"job 4711,? {said}"):
            snapshot.check_no_job_waits(tmp_path / "a.h5", os.environ)
    queue("")
    snapshot.check_no_job_waits(tmp_path / "a.h5", os.environ)
    snapshot.check_no_job_waits(tmp_path / "a.h5", {"PATH": str(tmp_path / "nowhere")})


def test_a_point_of_a_sweep_is_known_by_its_line(queue, tmp_path):
    queue("RUNNING None\n")
    (tmp_path / "sweep.job").mkdir()
    (tmp_path / "sweep.job/submitted").write_text("slurm 4711 0 1\nslurm 4711 1 2,3\n")
    (tmp_path / "points.tsv").write_text("file\trun.seed\np1.h5\t1\np2.h5\t2\nsweep.h5\t3\n")
    found = [snapshot.state_of(tmp_path / name, os.environ)
             for name in ("p1.h5", "p2.h5", "p4.h5", "sweep.h5")]
    assert found == [("4711", "RUNNING"), ("4711", "RUNNING"), None, ("4711", "RUNNING")]


def test_a_terminal_gets_one_line_that_fits(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    line = follow.Line(live=True)
    line.show("x" * 50)
    line.show("done and complete, and whole", last=True)
    line.end()
    clear = "\r\x1b[K"
    assert capsys.readouterr().out == f"{clear}{'x' * 19}{clear}done and complete, and whole\n"


@pytest.mark.parametrize(("width", "shown"), [
    (9, "round 1/"), (10, "round 1/9"), (11, "round 1/9"), (20, "round 1/9"), (23, "round 1/9"),
    (24, "round 1/9  accuracy 4 %"), (50, "round 1/9  accuracy 4 %")])
def test_a_fact_without_room_is_left_out_whole(width, shown):
    assert follow.fitting("round 1/9  accuracy 4 %", width) == shown


@pytest.mark.parametrize("every", ["0", "-1", "nan", "inf", "86401"])
def test_seconds_between_looks_are_above_0_and_at_most_a_day(tmp_path, capsys, every):
    assert cli.main(["watch", str(tmp_path / "a.h5"), "--every", every]) == 2
    assert f"--every {float(every):g}: must be above 0 and at most" in capsys.readouterr().err


def test_a_file_for_which_a_job_waits_is_not_begun_here(queue, main, tmp_path, capsys, monkeypatch):
    """The job then went on with what was written here, or found the file taken."""
    for name in NUMBERS:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "exp.toml").write_text("")
    out = str(tmp_path / "a.h5")
    fault = f"{out}: job 4711, which is PENDING (Priority), waits in the queue to write it; wait"
    queue("PENDING Priority")
    assert main(["run", str(tmp_path / "exp.toml"), "-o", out, "--quiet"]) == 1
    assert fault in capsys.readouterr().err and not (tmp_path / "a.h5").exists()
    sample.write(tmp_path / "a.h5")
    assert main(["resume", out, "--quiet"]) == 1
    assert fault in capsys.readouterr().err
    ways = (lambda: fedmpi.run({}, out, overwrite=True),
            lambda: fedmpi.resume(out, ["run.rounds=9"]))
    for start in ways:
        with pytest.raises(ResultError) as caught:
            start()
        assert fault in str(caught.value)
    for said in ("RUNNING", ""):  # as the job itself finds it
        queue(said)
        assert main(["resume", out, "--quiet"]) == 0
    queue("PENDING Priority")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert main(["resume", out, "--quiet"]) == 0
