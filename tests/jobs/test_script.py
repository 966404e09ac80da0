"""The job scripts: their text, and what they do around a run, with stand-ins for Slurm."""

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fedmpi.errors import ConfigError
from fedmpi.scheduler import SCHEDULERS, script
from fedmpi.scheduler.options import Options, check_path, plain, seconds
from fedmpi.scheduler.snapshot import Snapshot
from tests.conftest import ROOT

FEDMPI = ["/venv/bin/python", "-P", "-m", "fedmpi"]
GENERIC = {
    "run": Options(nodes=2, tasks_per_node=16),
    "gpu": Options(tasks_per_node=4, cpus_per_task=4, gpus_per_task=1),
    "sweep": Options(tasks_per_node=4),
}


MADE = [(name, kind) for name in SCHEDULERS for kind in GENERIC if kind == "run" or name == "slurm"]


def scripts(options, scheduler="slurm", wheel=None, **site):
    """Return the Script of some options, started by FEDMPI."""
    module = SCHEDULERS[scheduler]
    return script.Script(scheduler, options, FEDMPI, module.launch(options, wheel), **site)


@pytest.mark.parametrize(("scheduler", "kind"), MADE)
def test_the_scripts_in_jobs_are_what_the_package_writes(scheduler, kind):
    path = ROOT / f"jobs/{kind}{SCHEDULERS[scheduler].SUFFIX}"
    text = scripts(GENERIC[kind], scheduler).generic(kind)
    assert path.read_text() == text, f"write {path} again"


def test_the_head_of_a_submitted_script():
    options = Options(name="lp", nodes=2, tasks_per_node=8, time="1-2", partition="long",
                      account="proj.7", mem="16G", mpi="pmi2", restarts=9, exclusive=True,
                      constraint="cpu&hbm", nodelist="n[1-4,7]", extra=("--switches=1",))
    made = scripts(options, site=Path("/site/env.sh"))
    text = made.one(Snapshot(Path("/out/50%/a.job")), Path("/out/50%/a.h5"),
                    ["run.seed=1", "run.name='$(reboot)'"], ["run.rounds=9"])
    head, rest = text.split("\n# ---- Slurm's part")
    assert head == """\
#!/bin/bash
#SBATCH --job-name=lp
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=1
#SBATCH --time=1-2
#SBATCH --mem=16G
#SBATCH --partition=long
#SBATCH --account=proj.7
#SBATCH --constraint=cpu&hbm
#SBATCH --nodelist=n[1-4,7]
#SBATCH --exclusive
#SBATCH --signal=B:USR1@120
#SBATCH --switches=1
#SBATCH --output="/out/50%%/a.log"
#SBATCH --open-mode=append
#SBATCH --requeue
set -euo pipefail

config=/out/50%/a.job/config.toml
out=/out/50%/a.h5
overrides=(run.seed=1 'run.name='"'"'$(reboot)'"'"'')
changes=(run.rounds=9)
points=''
lines=()
pack=0
fedmpi=(/venv/bin/python -P -m fedmpi)
site=/site/env.sh
arguments=()
digests=''
record=/out/50%/a.job/submitted
scheduler=slurm most_restarts=9
"""
    assert "\nlaunch=(srun --mpi=pmi2)\n" in rest
    assert rest.endswith((ROOT / "fedmpi/scheduler/job.sh").read_text())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a\n#SBATCH --uid=0"), ("partition", "a b"), ("account", "$(id)"),
        ("qos", "-x"), ("mpi", ""), ("nodes", 0), ("tasks_per_node", -1), ("time", "1:99:00"),
        ("time", "4h"), ("time", "0:00:10"), ("mem", "16 G"), ("mem", "1G\n"), ("restarts", -1),
        ("lead", 0), ("lead", 4 * 3600), ("lead", 100_000), ("constraint", "a b"),
        ("gres", "gpu;id"), ("nodelist", "$(id)"), ("hint", "a|b"), ("mail_user", 'a"b'),
    ],
)
def test_what_a_script_cannot_hold_is_refused(field, value):
    with pytest.raises(ConfigError, match=f"--{field}".replace("_", "-")):
        Options(**{field: value})


def test_paths_and_names_become_harmless():
    assert plain("FedLP, p = 0.4\n(first)") == "FedLP-p-0.4-first"
    assert plain("--") == "fedmpi"
    for path in ("a\nb", 'a"b', "a'b", "a\\b"):
        with pytest.raises(ConfigError, match="choose another"):
            check_path(path)


@pytest.mark.parametrize(
    ("time", "expected"),
    [("90", 5400), ("1:30", 90), ("4:00:00", 14400), ("1-0", 86400), ("2-3:04:05", 183845)],
)
def test_time_limits_are_read_as_slurm_does(time, expected):
    assert seconds(time) == expected


def test_the_lead_is_half_of_a_short_limit():
    assert (Options(time="10:00:00").told, Options(time="1").told) == (120, 30)
    assert Options(time="10:00:00", lead=600).told == 600


# A stand-in notes its words; srun also its threads, and leaves with $CODE, or 75 when told.
SRUN = """\
[[ $1 != --mpi=none ]] || exit 1  # what cleans up before the run may fail
trap 'exit 75' USR1
echo "OMP_NUM_THREADS=$OMP_NUM_THREADS TMPDIR=$TMPDIR" >>"$NOTES"
: >"$NOTES.up"
[[ $CODE != wait ]] || while :; do sleep 0.02; done
exit "$CODE"
"""


@pytest.fixture
def slurm(tmp_path):
    """Return start(code, state="RUNNING", out=False, **env): the script in a pretended job."""
    scontrol = '[[ $1 == requeue ]] && exit "$REFUSED" || echo ${STATE:+"JobState=$STATE"}'
    for name, text in (("srun", SRUN), ("scontrol", scontrol), ("sbatch", "echo 8")):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/bash\necho "{name} $*" >>"$NOTES"\n{text}\n')
        path.chmod(0o755)

    def start(code, state="RUNNING", out=False, text=None, **env):
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
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    return start


def notes(process):
    """Wait for a job and return (exit code, what the stand-ins noted, its log)."""
    log, _ = process.communicate(timeout=20)
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
    assert noted.splitlines()[-2].endswith(f"resume --progress lines {tmp_path}/a.h5")
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
    end = time.monotonic() + 10
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
    text = scripts(Options()).sweep(kept, table, [2, 3], False)
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


@pytest.mark.parametrize(
    ("wheel", "launch"), [("mpiexec.hydra", "srun --mpi=pmi2"), ("ompi_info", "srun --mpi=pmix"),
                          ("python", "srun")],
)
def test_the_environment_of_this_checkout_brings_its_launcher(tmp_path, wheel, launch):
    program = tmp_path / ".venv/bin" / wheel
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    shown = 'launch=(srun); source "$0"; echo "${launch[*]}"'
    words = ["bash", "-euc", shown, ROOT / "jobs/env.sh"]
    done = subprocess.run(words, env={"SLURM_SUBMIT_DIR": str(tmp_path)}, capture_output=True,
                          text=True, timeout=20)
    assert done.stdout == f"{launch}\n", done.stderr
