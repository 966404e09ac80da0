"""The verb submit, with a stand-in for sbatch."""

import hashlib
import os
import subprocess
from shlex import quote

import pytest

from fedmpi.errors import ConfigError
from fedmpi.scheduler.snapshot import Snapshot, digests
from tests.conftest import ROOT

SBATCH = """\
#!/bin/bash
env >"$NOTES"
echo "$*" >>"$NOTES"
[[ -z $FAULT ]] || { echo "sbatch: error: $FAULT" >&2; exit 1; }
echo "4711;cluster"
"""

SQUEUE = """\
#!/bin/bash
[[ $QUEUED != "?" ]] || {
    echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
[[ $* == *"--jobs=$QUEUED "* ]] || {
    echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
echo N/A
"""


@pytest.fixture
def submit(run_fedmpi, tmp_path):
    """Return submit(*words, **env) with a configuration a.toml and OUT a.h5."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sbatch").write_text(SBATCH)
    (tmp_path / "bin/sbatch").chmod(0o755)
    (tmp_path / "bin/squeue").write_text(SQUEUE)
    (tmp_path / "bin/squeue").chmod(0o755)
    (tmp_path / "a.toml").write_text('[run]\nname = "Lambda = 0.1 (first)"\nrounds = 3\n')

    def run(*words, **env):
        path = f"{tmp_path}/bin:{os.environ['PATH']}"
        env = {"PATH": path, "NOTES": str(tmp_path / "notes"), "FAULT": "", "QUEUED": "",
               "HOME": str(tmp_path)} | env
        return run_fedmpi("submit", "a.toml", "-o", "a.h5", *words, **env)

    return run


def script(tmp_path):
    """Return the script that was submitted."""
    return (tmp_path / "a.job/job.slurm").read_text()


def test_the_number_comes_first_and_what_was_assumed(submit, tmp_path):
    done = submit("--nodes", "2", "--tasks-per-node", "4", "--set", "run.seed=1")
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stdout.splitlines()
    assert first == "submitted as job 4711"
    assert "8 ranks on 2 nodes, 1 core each, time limit 04:00:00" in second
    assert "(assumed: --cpus-per-task 1 --time 04:00:00)" in second
    assert "#SBATCH --job-name=Lambda-0.1-first\n" in script(tmp_path)
    assert "overrides=(run.seed=1)" in script(tmp_path) and "#SBATCH" not in done.stdout
    for line in ("squeue --jobs=4711", f"tail -F {quote(f'{tmp_path}/a.log')}",
                 f"fedmpi watch {quote(f'{tmp_path}/a.h5')}", "scancel 4711"):
        assert line in done.stdout
    assert (tmp_path / "notes").read_text().endswith(f"--parsable {tmp_path}/a.job/job.slurm\n")


def test_a_job_whose_gpus_and_device_differ_is_warned_of(submit):
    cuda = ("--set", "run.device=cuda", "--dry-run")
    assert "the job has no GPU; add --gpus-per-node" in submit(*cuda).stderr
    done = submit("--gpus-per-node", "4", *cuda)
    assert (done.returncode, done.stderr) == (0, "")
    assert "#SBATCH --gpus-per-node=4\n" in done.stdout
    assert "train on processors" in submit("--gpus-per-task", "1", "--dry-run").stderr


def test_a_rehearsal_shows_the_script_and_writes_nothing(submit, tmp_path):
    done = submit("--dry-run")
    assert done.returncode == 0 and "not submitted" in done.stdout and "#SBATCH" in done.stdout
    assert not (tmp_path / "a.job").exists() and not (tmp_path / "notes").exists()


def test_the_job_runs_the_configuration_as_it_was(submit, tmp_path):
    (tmp_path / "tiers.csv").write_text("device,share,speed\nphone,1,1e9\n")
    (tmp_path / "mine.py").write_text(
        "from fedmpi.algorithms.fedavg import FedAvg\n\n\nclass Mine(FedAvg):\n    pass\n"
    )
    text = '[run]\nrounds = 3\n[algorithm]\nname = "mine:Mine"\n'
    (tmp_path / "a.toml").write_text(text)
    assert submit().returncode == 0
    (tmp_path / "a.toml").write_text("[run]\nrounds = 4\n")
    assert (tmp_path / "a.job/config.toml").read_text() == text
    assert f"config={quote(f'{tmp_path}/a.job/config.toml')}\n" in script(tmp_path)
    digest = hashlib.sha256((tmp_path / "mine.py").read_bytes()).hexdigest()
    assert f"digests='{digest}  {tmp_path}/mine.py'" in script(tmp_path)


def test_own_modules_are_those_that_a_configuration_can_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "\u00c9cole.py").write_text("pass\n")
    (tmp_path / "named.py").write_text("pass\n")
    values = {"run": {"name": "named:x"}, "stage": [{"name": "\u00c9cole:Mine"}]}
    (line,) = digests(values).splitlines()
    assert line.endswith(f"  {tmp_path}/\u00c9cole.py")


def test_a_file_that_a_job_would_not_find_is_refused(tmp_path, monkeypatch):
    """A job has the configuration in its own folder, and is where it was submitted."""
    for folder in ("experiments", "here"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    place, name = tmp_path / "experiments/a.toml", "../phones.csv"
    with pytest.raises(ConfigError, match=r"'../phones.csv': would not be found by a job"):
        digests({}, [name], place)
    (tmp_path / "phones.csv").write_text("phones\n")
    for found in (name, str(tmp_path / "phones.csv")):
        assert digests({}, [found], place).endswith("phones.csv")
    (tmp_path / "here/deep").mkdir()
    monkeypatch.chdir(tmp_path / "here/deep")
    with pytest.raises(ConfigError, match="give the file's absolute path"):
        digests({}, [name], place)
    (tmp_path / "here/phones.csv").write_text("others\n")
    with pytest.raises(ConfigError, match="give the file's absolute path"):
        digests({}, [name], place)


def test_the_folder_of_a_sweeps_jobs_is_no_folder_of_another_job(submit):
    """`submit -o sweep.h5` in the folder of a sweep wrote over the sweep's configuration."""
    done = submit("-o", "sweep.h5")
    assert done.returncode == 2 and "sweep.job is the folder of a sweep's jobs" in done.stderr


def test_a_second_job_for_one_result_is_refused(submit, tmp_path):
    assert submit(QUEUED="4711").returncode == 0
    done = submit(QUEUED="4711")
    assert done.returncode == 1 and "job 4711, which is queued or runs, writes it" in done.stderr
    done = submit(QUEUED="?")
    assert done.returncode == 1 and "whether job 4711 waits or runs, so nothing is" in done.stderr
    assert "Unable to contact slurm controller" in done.stderr
    assert submit(QUEUED="").returncode == 0


def test_options_of_the_site_and_of_the_command_line(submit, tmp_path):
    site = tmp_path / "site.toml"
    site.write_text('''
modules = ["gcc", "openmpi/5.0"]
activate = "$HOME/venv"
environment = {FI_PROVIDER = "cxi", OUT = "$SCRATCH/out"}
launch = ["srun", "--mpi=cray_shasta", "--cpu-bind=cores"]
scratch = "/local/$SLURM_JOB_ID"
[job]
account = "m1"
constraint = "cpu"
tasks-per-node = 4
extra = ["--switches=1"]
''')
    done = submit("--account", "m2", "--sbatch=--core-spec=2", FEDMPI_SITE=str(site))
    assert done.returncode == 0, done.stderr
    text = script(tmp_path)
    for line in ("#SBATCH --account=m2", "#SBATCH --constraint=cpu", "#SBATCH --ntasks-per-node=4",
                 "#SBATCH --switches=1", "#SBATCH --core-spec=2",
                 "launch=(srun --mpi=cray_shasta --cpu-bind=cores)",
                 "    module load gcc openmpi/5.0", '    export OUT="$SCRATCH/out"',
                 '    source "$HOME/venv"/bin/activate', '    scratch="/local/$SLURM_JOB_ID"'):
        assert f"{line}\n" in text, line
    assert "assumed: --nodes 1 --cpus-per-task 1 --time" in done.stdout


@pytest.mark.parametrize(
    ("text", "fault"),
    [("modules = 3", "modules"), ("[job]\nacount = 'x'", "job.acount: unknown key; did you"),
     ("environment = {A = '$(id)'}", "environment.A"), ("launch = ['srun; id']", "launch"),
     ("scheduler = 'lsf'", "scheduler"), ("environment = {'A B' = '1'}", "environment.A B")],
)
def test_a_fault_in_the_file_of_the_site_is_named(submit, tmp_path, text, fault):
    (tmp_path / "site.toml").write_text(text)
    done = submit(FEDMPI_SITE=str(tmp_path / "site.toml"))
    assert done.returncode == 2 and f"site.toml: {fault}" in done.stderr, done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "jobs/sites").glob("*.toml")), ids=lambda p: p.stem)
def test_the_sites_that_come_along_can_be_used(submit, path):
    done = submit("--dry-run", "--account", "proj", FEDMPI_SITE=str(path))
    assert done.returncode == 0, done.stderr
    check = subprocess.run(["bash", "-n"], input=done.stdout, text=True, capture_output=True)
    assert check.returncode == 0, check.stderr


def test_the_new_job_inherits_no_marks_of_this_one(submit, tmp_path):
    done = submit(SLURM_CPUS_PER_TASK="9", SLURM_NTASKS="7", SLURM_STEP_NUM_TASKS="1",
                  SLURM_CONF="/c", SLURM_MPI_TYPE="pmix", KEPT="yes")
    assert done.returncode == 0, done.stderr
    inherited = (tmp_path / "notes").read_text()
    assert "SLURM_NTASKS" not in inherited and "SLURM_CPUS" not in inherited
    assert all(f"{kept}\n" in inherited for kept in ("KEPT=yes", "SLURM_CONF=/c"))
    assert "launch=(srun)\n" in script(tmp_path)  # SLURM_MPI_TYPE says which plug-in


@pytest.mark.parametrize(
    ("words", "env", "code", "text"),
    [
        (["--set", "run.ronds=1"], {}, 2, "did you mean rounds?"),
        (["--partition", "a\nb"], {}, 2, "--partition"),
        (["--time", "soon"], {}, 2, "H:M:S"),
        (["--time", "0:30"], {}, 2, "must be minutes, M:S, H:M:S or D-H:M:S, a minute or more"),
        (["--sbatch=--array=1-3"], {}, 2, "leave it out"),
        (["--env", "none.sh"], {}, 2, "none.sh: no such file"),
        (["--resume"], {}, 1, "a.h5: no such file"),
        (["--sbatch=--nodes=3"], {}, 2, "nodes is set already"),
        (["--sbatch=--time=3"], {}, 2, "time is set already"),
        (["--sbatch=-C cpu"], {}, 2, '--sbatch="--constraint=cpu"'),
        (["--sbatch=--comment=a b"], {}, 2, "long form"),
        (["--sbatch=--output=x"], {}, 2, "output is set already"),
        (["--qsub=-l x=y"], {}, 2, "which takes --sbatch"),
        (["--scheduler", "pbs", "--hint", "x"], {}, 2, "PBS has no such option"),
        ([], {"FAULT": "invalid partition specified: x"}, 1, "invalid partition specified: x"),
        ([], {"PATH": "/nowhere"}, 1, "sbatch: not found; give the same command on a machine"),
    ],
)
def test_what_cannot_be_submitted_is_told_in_a_line_or_two(submit, words, env, code, text):
    done = submit(*words, **env)
    assert done.returncode == code and text in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert "submitted as" not in done.stdout


@pytest.mark.parametrize("fault", [
    "unrecognized option '--bogus=1'\nTry \"sbatch --help\" for more information",
    "name your project with --account\nsbatch: error: Unspecified error",
])
def test_the_reason_of_a_refusal_is_shown_though_another_line_follows(submit, fault):
    done = submit(FAULT=fault)
    assert done.returncode == 1 and fault.splitlines()[0] in done.stderr
    assert "Try " not in done.stderr


@pytest.mark.parametrize(("gres", "told"), [("nvme:1", False), ("gpu:2", True)])
def test_only_a_resource_that_is_a_gpu_is_taken_for_gpus(submit, gres, told):
    assert ("the job has GPUs" in submit("--dry-run", "--gres", gres).stderr) is told


def test_commands_to_copy_quote_a_path_with_spaces(submit, tmp_path):
    (tmp_path / "two words").mkdir()
    out = submit("-o", "two words/a.h5").stdout
    assert f"fedmpi watch '{tmp_path}/two words/a.h5'" in out
    assert f"tail -F '{tmp_path}/two words/a.log'" in out


def test_allow_code_goes_with_resume(submit, tmp_path):
    done = submit("--allow-code")
    assert done.returncode == 2 and "--allow-code: goes with --resume" in done.stderr
    assert not (tmp_path / "a.job").exists()


def test_a_job_that_is_refused_leaves_no_files(submit, tmp_path):
    assert submit(FAULT="invalid account").returncode == 1
    assert not (tmp_path / "a.job").exists()


@pytest.mark.parametrize("fault", ["Socket timed out on send/recv operation", ""])
def test_the_files_of_a_job_that_may_be_queued_stay(submit, tmp_path, fault):
    """The answer was lost, or a job was submitted before: it needs what it will run."""
    assert submit(FAULT=fault).returncode == bool(fault)
    assert submit("--time", "1:00:00", FAULT="invalid account").returncode == 1
    assert (tmp_path / "a.job/config.toml").exists() and "time=1:00:00" in script(tmp_path)


def test_a_result_is_gone_on_with_on_demand_and_with_its_changes(submit, run_fedmpi, tmp_path):
    small = ["clients.number=4", "clients.per_round=2", "clients.local_steps=1"]
    words = [word for key in small for word in ("--set", key)]
    assert run_fedmpi("run", "a.toml", "-o", "a.h5", *words).returncode == 0
    done = submit()
    assert "--resume" in done.stderr and "--overwrite" not in done.stderr
    assert "all 3 rounds are done; for more add --set run.rounds=N" in submit("--resume").stderr
    assert "cannot change" in submit("--resume", "--set", "model.name=cnn").stderr
    more = ("--resume", "--set", "run.rounds=5")
    with Snapshot(tmp_path / "a.job").alone():  # at the same moment
        assert "another submission is under way" in submit(*more).stderr
    done = submit(*more)
    assert done.returncode == 0, done.stderr
    assert "job 4711, which is queued or runs" in submit(*more, QUEUED="4711").stderr
    assert "overrides=()\nchanges=(run.rounds=5)\n" in script(tmp_path)
    (tmp_path / "a.h5").write_bytes(b"damaged")
    assert f"fedmpi resume {quote(f'{tmp_path}/a.h5')} --rebuild" in submit(*more).stderr


def test_the_site_file_of_the_folder_is_used(submit, tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/env.sh").write_text("")
    assert f"site={quote(f'{tmp_path}/jobs/env.sh')}\n" in submit("--dry-run").stdout
    done = submit("--dry-run", "--env", ROOT / "jobs/env.sh")
    assert f"site={quote(f'{ROOT}/jobs/env.sh')}\n" in done.stdout
