"""The text of the job scripts, and options that are refused since no script can hold them."""

import subprocess
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


SUBMITTED = """\
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
digests=''
record=/out/50%/a.job/submitted
fedmpi=(/venv/bin/python -P -m fedmpi)
site=/site/env.sh
arguments=()
scheduler=slurm most_restarts=9
"""
MADE = [(name, kind) for name in SCHEDULERS for kind in GENERIC if kind == "run" or name == "slurm"]


def scripts(options, scheduler="slurm", wheel=None, **site):
    """Return the Script of some options, started by FEDMPI."""
    module = SCHEDULERS[scheduler]
    return script.Script(scheduler, options, FEDMPI, module.launch(options, wheel), **site)


@pytest.mark.parametrize(("scheduler", "kind"), MADE)
def test_the_scripts_in_jobs_are_what_the_package_writes(scheduler, kind):
    path = ROOT / f"jobs/{kind}.{'sbatch' if scheduler == 'slurm' else scheduler}"
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
    assert head == SUBMITTED
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
        ("time", "\u0663:00:00"), ("mem", "\u0663G"),  # digits, but not those of a shell
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
    assert (Options(time="10:00:00").notice, Options(time="1").notice) == (120, 30)
    assert Options(time="10:00:00", lead=600).notice == 600


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
