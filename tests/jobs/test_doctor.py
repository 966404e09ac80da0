"""The doctor in real jobs, and on a Slurm without a plug-in for the MPI."""

import re
import sys
from pathlib import Path

import pytest

from fedmpi.record import reader
from tests.jobs.conftest import PMI_LOSES
from tests.jobs.test_slurm import CONFIG

pytestmark = pytest.mark.flaky(reruns=3, only_rerun=PMI_LOSES)


def test_on_two_nodes_one_rank_reports(cluster, tmp_path):
    text = cluster.run("srun", "-N2", "-n2", "--mpi=pmi2", sys.executable, "-m", "fedmpi",
                       "doctor", check=False, cwd=tmp_path)
    assert re.search(r"^ok +ranks +2 on 2 nodes$", text, re.MULTILINE), text
    assert len(re.findall(r"^\w+ +python ", text, re.MULTILINE)) == 1


def test_srun_without_pmi_gives_lone_ranks(cluster, tmp_path):
    text = cluster.run("srun", "-n2", "--mpi=none", sys.executable, "-m", "fedmpi", "doctor",
                       check=False, cwd=tmp_path)
    assert ("2 processes, and each takes itself for the only rank  -> start with srun --mpi=pmi2"
            in text)
    assert len(re.findall(r"^\w+ +ranks ", text, re.MULTILINE)) == 1


def test_one_process_in_the_shell_of_a_job(cluster, tmp_path):
    log = tmp_path / "log"
    cluster.run("sbatch", "--wait", "-n2", "-o", log, "--wrap", "python -m fedmpi doctor",
                check=False, cwd=tmp_path)
    assert "one process of a job with 2 tasks  -> srun fedmpi" in log.read_text()


def test_a_slurm_whose_plugins_for_pmi_are_missing(cluster, tmp_path):
    settings = cluster.run("scontrol", "show", "config")
    plugins = Path(re.search(r"PluginDir\s*=\s*(\S+)", settings)[1])
    some = tmp_path / "plugins"
    some.mkdir()
    for plugin in plugins.glob("*.so"):
        if not plugin.name.startswith("mpi_pmi"):
            (some / plugin.name).symlink_to(plugin)
    conf = tmp_path / "slurm.conf"
    conf.write_text(Path(cluster.env["SLURM_CONF"]).read_text() + f"PluginDir={some}\n")
    text = cluster.run("env", f"SLURM_CONF={conf}", sys.executable, "-m", "fedmpi", "doctor",
                       check=False, cwd=tmp_path)
    found = re.search(r"^wrong +slurm +srun --mpi knows (.*): it cannot join", text, re.MULTILINE)
    assert found and "none" in found[1] and "pmi2" not in found[1], text
    assert "launch=(mpirun)" in text


def test_the_ranks_of_a_job_must_find_each_other(cluster, tmp_path):
    """Without PMI srun starts N lone ranks; mpirun in the job, and one process alone, are fine."""
    (tmp_path / "exp.toml").write_text(CONFIG)
    fedmpi = f"python -m fedmpi run {tmp_path}/exp.toml --set run.rounds=1 --quiet -o"
    script = tmp_path / "job.sh"
    script.write_text(
        f"#!/bin/bash\ncd {tmp_path}\n"
        f"{fedmpi} alone.h5; echo alone $?\n"
        f"srun --mpi=none {fedmpi} lone.h5; echo lone $?\n"
        f"mpirun -n 2 {fedmpi} mpirun.h5; echo mpirun $?\n"
    )
    cluster.run("sbatch", "--wait", "-N2", "-n2", "-o", tmp_path / "log", script, check=False)
    log = (tmp_path / "log").read_text()
    assert "alone 0\n" in log and "lone 2\n" in log and "mpirun 0\n" in log, log
    assert log.count("MPI joins none of the 2 processes") == 1
    assert log.count("srun --mpi=pmi2") == 1
    assert not (tmp_path / "lone.h5").exists()
    with reader.open(tmp_path / "mpirun.h5") as run:
        assert run.ranks == 2
    with reader.open(tmp_path / "alone.h5") as run:
        assert run.ranks == 1
