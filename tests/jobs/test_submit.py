"""The verb submit, with a stand-in for sbatch."""

import os

import pytest

from tests.conftest import ROOT

SBATCH = """\
#!/bin/bash
env >"$NOTES"
echo "$*" >>"$NOTES"
[[ -z $FAULT ]] || { echo "sbatch: error: $FAULT" >&2; exit 1; }
echo "4711;cluster"
"""


@pytest.fixture
def submit(run_fedmpi, tmp_path):
    """Return submit(*words, **env) with a configuration a.toml and OUT a.h5."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sbatch").write_text(SBATCH)
    (tmp_path / "bin/sbatch").chmod(0o755)
    (tmp_path / "a.toml").write_text('[run]\nname = "Lambda = 0.1 (first)"\nrounds = 3\n')

    def run(*words, **env):
        path = f"{tmp_path}/bin:{os.environ['PATH']}"
        env = {"PATH": path, "NOTES": str(tmp_path / "notes"), "FAULT": ""} | env
        return run_fedmpi("submit", "a.toml", "-o", "a.h5", *words, **env)

    return run


def test_it_shows_the_script_submits_it_and_says_how_to_follow(submit, tmp_path):
    done = submit("--nodes", "2", "--tasks-per-node", "4", "--set", "run.seed=1")
    assert done.returncode == 0, done.stderr
    script = (tmp_path / "a.sbatch").read_text()
    assert done.stdout.startswith(script)
    assert "#SBATCH --job-name=Lambda-0.1-first\n" in script and "overrides=(run.seed=1)" in script
    for line in ("submitted as job 4711", "squeue --jobs=4711", f"tail -F {tmp_path}/a.log",
                 f"fedmpi watch {tmp_path}/a.h5", "scancel 4711"):
        assert line in done.stdout
    assert (tmp_path / "notes").read_text().endswith(f"--parsable {tmp_path}/a.sbatch\n")


def test_a_rehearsal_writes_nothing(submit, tmp_path):
    done = submit("--dry-run")
    assert done.returncode == 0 and "not submitted" in done.stdout
    assert not (tmp_path / "a.sbatch").exists() and not (tmp_path / "notes").exists()


def test_the_new_job_inherits_no_marks_of_this_one(submit, tmp_path):
    done = submit(SLURM_CPUS_PER_TASK="9", SLURM_NTASKS="7", SLURM_STEP_NUM_TASKS="1",
                  SLURM_CONF="/c", SLURM_MPI_TYPE="pmix", KEPT="yes")
    assert done.returncode == 0, done.stderr
    inherited = (tmp_path / "notes").read_text()
    assert "SLURM_NTASKS" not in inherited and "SLURM_CPUS" not in inherited
    assert all(f"{kept}\n" in inherited for kept in ("KEPT=yes", "SLURM_CONF=/c"))
    assert "launch=(srun --kill-on-bad-exit" in done.stdout  # SLURM_MPI_TYPE says which plug-in


@pytest.mark.parametrize(
    ("words", "env", "code", "text"),
    [
        (["--set", "run.ronds=1"], {}, 2, "did you mean rounds?"),
        (["--partition", "a\nb"], {}, 2, "--partition"),
        (["--time", "soon"], {}, 2, "H:M:S"),
        (["--env", "none.sh"], {}, 2, "none.sh: no such file"),
        (["--resume"], {}, 1, "nothing to go on with"),
        ([], {"FAULT": "invalid partition specified: x"}, 1, "invalid partition specified: x"),
        ([], {"PATH": "/nowhere"}, 1, "sbatch: not found"),
    ],
)
def test_what_cannot_be_submitted_is_told_in_a_line_or_two(submit, words, env, code, text):
    done = submit(*words, **env)
    assert done.returncode == code and text in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert "submitted as" not in done.stdout


def test_a_result_that_exists_is_not_gone_on_with_by_accident(submit, tmp_path):
    (tmp_path / "a.h5").write_text("x")
    assert "exists" in submit().stderr
    assert submit("--resume").returncode == 0


def test_the_site_file_of_the_folder_is_used(submit, tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/env.sh").write_text("")
    assert f"site={tmp_path}/jobs/env.sh\n" in submit("--dry-run").stdout
    assert f"site={ROOT}/jobs/env.sh\n" in submit("--dry-run", "--env", ROOT / "jobs/env.sh").stdout
