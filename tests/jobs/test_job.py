"""The work of a job script around a run, with stand-ins for Slurm's commands."""

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fedmpi.scheduler.options import Options
from fedmpi.scheduler.snapshot import Snapshot
from tests.conftest import SOON
from tests.jobs.test_script import FEDMPI, scripts

# A stand-in notes its words; srun also its threads, says $SAYS, and leaves with $CODE, or 75 when
# told.
SRUN = """\
[[ $1 != --mpi=none ]] || exit 1  # what cleans up before the run may fail
trap 'exit 75' USR1
echo "OMP_NUM_THREADS=$OMP_NUM_THREADS TMPDIR=$TMPDIR" >>"$NOTES"
: >"$NOTES.up"
[[ -z ${SAYS:-} ]] || echo "$SAYS" >&2
[[ $CODE != wait ]] || while :; do sleep 0.02; done
exit "$CODE"
"""


@pytest.fixture
def slurm(tmp_path):
    """Return start(code, state="RUNNING", out=False, **env): the script in a pretended job.

    Its output goes into a pipe, or to the open file `log`.
    """
    scontrol = '[[ $1 == requeue ]] && exit "$REFUSED" || echo ${STATE:+"JobState=$STATE"}'
    for name, text in (("srun", SRUN), ("scontrol", scontrol), ("sbatch", "echo 8")):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/bash\necho "{name} $*" >>"$NOTES"\n{text}\n')
        path.chmod(0o755)

    def start(code, state="RUNNING", out=False, text=None, log=subprocess.PIPE, **env):
        result = tmp_path / "a.h5"
        if out:
            result.write_text("")
        kept = Snapshot(tmp_path / "a.job")
        kept.folder.mkdir(exist_ok=True)
        text = text or scripts(Options(restarts=3)).one(kept, result, ["run.seed=1"])
        (tmp_path / "job.sbatch").write_text(text)
        env = {
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "NOTES": str(tmp_path / "notes"),
            "CODE": str(code), "STATE": state, "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]",
            "REFUSED": "0",
        } | env
        return subprocess.Popen(["bash", tmp_path / "job.sbatch"], env=env, text=True,
                                stdout=log, stderr=subprocess.STDOUT)

    return start


def notes(process):
    """Wait for a job and return (exit code, notes of the stand-ins, its log)."""
    try:
        log, _ = process.communicate(timeout=SOON)
    finally:
        process.kill()  # one that never ends must not trouble the tests that follow
        process.wait()
    path = Path(process.args[1]).with_name("notes")
    return process.returncode, path.read_text() if path.exists() else "", log


@pytest.mark.parametrize(
    ("code", "state", "env", "requeued"),
    [
        (0, "RUNNING", {}, False),
        (75, "RUNNING", {}, True),
        (75, "", {}, True),  # Slurm's controller is busy: better once too often than never
        (1, "RUNNING", {}, False),  # a failing job would only fail again
        (75, "COMPLETING", {}, False),  # cancelled, or requeued by Slurm itself
        (75, "RUNNING", {"SLURM_RESTART_COUNT": "2"}, True),
        (75, "RUNNING", {"SLURM_RESTART_COUNT": "3"}, False),
    ],
)
def test_a_job_comes_back_only_where_that_helps(slurm, code, state, env, requeued):
    left, noted, log = notes(slurm(code, state, **env))
    assert left == code, log
    assert ("scontrol requeue 7\n" in noted) == requeued, noted + log
    if env.get("SLURM_RESTART_COUNT") == "3":
        assert "which is the limit" in log


def test_a_job_comes_back_though_its_log_is_on_a_full_disk(slurm):
    with open("/dev/full", "w") as log:
        left, noted, _ = notes(slurm(75, log=log))
        again, resubmitted, _ = notes(slurm(75, log=log, REFUSED="1"))
    assert (left, again) == (75, 75) and "scontrol requeue 7\n" in noted
    assert "sbatch --parsable" in resubmitted


def test_a_job_that_slurm_starts_too_often_gives_up(slurm):
    left, noted, log = notes(slurm(0, SLURM_RESTART_COUNT="4"))
    assert (left, noted) == (1, "") and "more than 3: given up" in log


def test_the_task_of_an_array_requeues_itself_alone(slurm):
    _, noted, _ = notes(slurm(75, SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="5"))
    assert "scontrol requeue 7_5\n" in noted


def test_a_run_is_started_or_gone_on_with(slurm, tmp_path):
    _, noted, _ = notes(slurm(0))
    config = f"{tmp_path}/a.job/config.toml"
    words = f"{' '.join(FEDMPI)} run --progress lines {config} -o {tmp_path}/a.h5"
    assert f"srun --kill-on-bad-exit=0 --wait=4 {words} --set run.seed=1\n" in noted
    _, noted, _ = notes(slurm(0, out=True))
    assert noted.splitlines()[-2].endswith(f"resume --allow-code --progress lines {tmp_path}/a.h5")
    kept = Snapshot(tmp_path / "a.job")
    text = scripts(Options()).one(kept, tmp_path / "a.h5", [], ["run.rounds=9"])
    _, noted, _ = notes(slurm(0, out=True, text=text))
    assert noted.splitlines()[-2].endswith(f"{tmp_path}/a.h5 --set run.rounds=9")


def test_a_job_that_cannot_be_requeued_is_followed_by_another(slurm, tmp_path):
    _, noted, log = notes(slurm(75, REFUSED="1"))
    assert "submitted again as job 8" in log
    words = next(line for line in noted.splitlines() if line.startswith("sbatch"))
    assert "--dependency=afterany:7 " in words
    assert (tmp_path / "a.job/submitted").read_text() == "slurm 8 - -\n"
    _, noted, log = notes(slurm(75, REFUSED="1", FEDMPI_RESTARTS="3"))
    assert "which is the limit" in log and noted.count("sbatch --parsable") == 1


def test_only_a_preempted_job_is_submitted_again_when_slurm_ends_it(slurm):
    preempted = "COMPLETING PreemptTime=2026-11-28T06:10:05"
    _, noted, log = notes(slurm(75, preempted))
    assert "sbatch" in noted and "submitted again as job 8" in log
    _, noted, log = notes(slurm(75, "COMPLETING PreemptTime=None"))
    assert noted.count("sbatch --parsable") == 1 and "Slurm ends this job" in log


def test_a_preemption_that_slurm_only_says_is_that_of_the_last_start(slurm, tmp_path):
    said = "slurmstepd-n1: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-30 DUE TO PREEMPTION ***"
    last = []
    with open(tmp_path / "log", "a") as log:
        for text in (said, said.replace("JOB 7", "JOB 70"), "", said):
            notes(slurm(75, "COMPLETING PreemptTime=None", log=log, SAYS=text))
            last.append(Path(log.name).read_text().splitlines()[-1].partition("job 7: ")[2])
    assert last == ["submitted again as job 8", *["Slurm ends this job"] * 2,
                    "submitted again as job 8"]


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
def test_a_signal_to_the_shell_reaches_the_ranks_once(slurm, tmp_path, name):
    job = slurm("wait", "RUNNING" if name == "SIGUSR1" else "COMPLETING")
    wait_for(tmp_path / "notes.up")
    job.send_signal(getattr(signal, name))
    if name == "SIGTERM":  # which Slurm sends to the ranks, too
        time.sleep(0.2)
        assert job.poll() is None
        child = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()[0]
        os.kill(int(child), signal.SIGUSR1)
    left, noted, log = notes(job)
    assert left == 75, log
    assert ("scontrol requeue 7\n" in noted) == (name == "SIGUSR1")


def wait_for(path):
    """Wait until a file is there."""
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def test_threads_are_what_the_node_lets_a_rank_have(slurm):
    cores = len(os.sched_getaffinity(0))
    for cpus, tasks, expected in (("1", "2(x2)", 1), ("512", "1(x2)", cores), ("2", "512,1", 1)):
        _, noted, _ = notes(slurm(0, SLURM_CPUS_PER_TASK=cpus, SLURM_TASKS_PER_NODE=tasks))
        assert f"OMP_NUM_THREADS={expected} " in noted.splitlines()[-1]


def test_scratch_that_this_node_does_not_have_is_replaced(slurm, tmp_path):
    assert notes(slurm(0, TMPDIR="/no/such/place"))[1].splitlines()[-1].endswith("TMPDIR=/tmp")
    _, noted, _ = notes(slurm(0, TMPDIR="/no", SLURM_TMPDIR=str(tmp_path)))
    assert noted.splitlines()[-1].endswith(f"TMPDIR={tmp_path}")


def test_a_point_of_a_sweep_gets_the_values_of_its_line(slurm, tmp_path):
    table = tmp_path / "points.tsv"
    table.write_text('file\ta.b\tc.d\nx.h5\t1\t-\n../../y.h5\t-\t"$(id) *"\n')
    kept = Snapshot(tmp_path / "a.job")
    text = scripts(Options()).sweep(kept, kept.folder / "job-1.slurm", table, [2, 3],
                                    False)
    assert "#SBATCH --array=0-1\n" in text
    _, noted, _ = notes(slurm(0, text=text, SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="0"))
    assert f'-o {tmp_path}/y.h5 --set c.d="$(id) *"\n' in noted
    assert "start 1 on" in (tmp_path / "y.log").read_text()
    left, _, log = notes(slurm(0, text=text, SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="1"))
    assert left != 0 and "no point 3" in log


def test_what_changed_since_the_submission_is_named(slurm, tmp_path):
    code = tmp_path / "mine.py"
    code.write_text("x = 1\n")
    digest = f"{hashlib.sha256(code.read_bytes()).hexdigest()}  {code}"
    text = scripts(Options()).one(Snapshot(tmp_path / "a.job"), tmp_path / "a.h5", [],
                                  digests=digest)
    assert "has changed" not in notes(slurm(0, text=text))[2]
    code.write_text("x = 2\n")
    assert f"{code}: FAILED" in (log := notes(slurm(0, text=text))[2]) and "has changed" in log


def test_a_sites_file_may_be_careless_and_choose_the_launcher(slurm, tmp_path):
    site = tmp_path / "env.sh"
    site.write_text("echo $UNSET_BY_MODULES; false; launch+=(--mpi=pmix)\n")
    made = (Snapshot(tmp_path / "a.job"), tmp_path / "a.h5", [])
    text = scripts(Options(), site=site).one(*made)
    left, noted, log = notes(slurm(0, text=text))
    assert left == 0 and "srun --mpi=pmix --kill-on-bad-exit=0 --wait=4 /venv" in noted, log
    text = scripts(Options(), site=tmp_path / "none.sh").one(*made)
    left, noted, log = notes(slurm(0, text=text))
    assert left == 1 and "none.sh cannot be read" in log
