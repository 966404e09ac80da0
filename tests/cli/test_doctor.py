"""The doctor: each fault that it finds is produced, for real if this machine allows it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedmpi.comm.base import Serial
from fedmpi.comm.library import family
from fedmpi.doctor import clocks, cores, gpu, mpi_library, processors, python, traffic
from tests.conftest import ROOT, SOON, mpiexec

MPICH, OPEN_MPI = "MPICH Version: 5.0.2", "Open MPI v5.0.11, package: x"


def finding(done, what):
    """Return (level, rest of the line) of one finding in the doctor's output."""
    lines = [line.split(None, 2) for line in done.stdout.splitlines()]
    found = [(level, rest) for level, name, rest in lines if name == what]
    assert len(found) == 1, done.stdout + done.stderr
    return found[0]


def test_alone_it_finds_what_every_run_needs(run_fedmpi):
    done = run_fedmpi("doctor")
    levels = {line.split()[0] for line in done.stdout.splitlines()}
    assert done.returncode == ("wrong" in levels), done.stdout + done.stderr
    assert finding(done, "python")[0] == finding(done, "libraries")[0] == "ok"
    assert finding(done, "library")[0] == "ok"
    assert finding(done, "ranks") == ("ok", "alone")


def test_on_three_ranks_one_of_them_reports(run_fedmpi):
    done = run_fedmpi("doctor", ranks=3)
    assert finding(done, "ranks") == ("ok", "3 on 1 node")
    assert finding(done, "cores")[1].startswith("3 ranks here on ")


def test_ranks_beyond_cores_for_real(run_python, tmp_path):
    bound = ("import os, runpy, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
             "sys.argv = ['fedmpi', 'doctor']; runpy.run_module('fedmpi', run_name='__main__')")
    done = run_python("-c", bound, ranks=2)
    level, text = finding(done, "cores")
    assert (done.returncode, level) == (1, "wrong")
    assert "2 ranks here on 1 core" in text and "mpiexec -n 1" in text


def test_threads_oversubscribed_for_real(run_fedmpi):
    many = str(2 * len(os.sched_getaffinity(0)))
    done = run_fedmpi("doctor", OMP_NUM_THREADS=many, NUMBA_NUM_THREADS="1")
    level, text = finding(done, "threads")
    assert (done.returncode, level) == (1, "wrong")
    assert f"1 rank x {many} threads" in text and "export OMP_NUM_THREADS=" in text


@pytest.mark.parametrize("seconds", ["nan", "0", "1e9"])
def test_the_seconds_of_a_trial_are_a_number_of_them(run_fedmpi, seconds):
    done = run_fedmpi("doctor", "--mpi", "--seconds", seconds)
    assert done.returncode == 2 and "--seconds" in done.stderr and not done.stdout


def test_a_configuration_brings_its_threads(run_fedmpi, tmp_path):
    (tmp_path / "a.toml").write_text("\ufeff[run]\nthreads_per_rank = 1024\n", "utf-8")
    unset = {f"{name}_NUM_THREADS": "" for name in ("OMP", "NUMBA", "OPENBLAS", "MKL")}
    level, text = finding(run_fedmpi("doctor", "a.toml", **unset), "threads")
    assert level == "wrong" and "--set run.threads_per_rank=" in text


def test_torch_without_the_gpu_asked_for_for_real(run_fedmpi, tmp_path):
    (tmp_path / "a.toml").write_text('[run]\ndevice = "cuda"\n')
    done = run_fedmpi("doctor", "a.toml", CUDA_VISIBLE_DEVICES="")
    level, text = finding(done, "gpu")
    assert (done.returncode, level) == (1, "wrong")
    assert "built without it" in text or "CUDA_VISIBLE_DEVICES=''" in text


def test_a_python_without_the_libraries_for_real(run_python):
    done = run_python("-S", "-m", "fedmpi", "doctor")
    level, text = finding(done, "libraries")
    assert (done.returncode, level, done.stderr) == (1, "wrong", "")
    assert "numpy" in text and "source .venv/bin/activate" in text


def test_a_python_that_is_too_old_for_real(tmp_path):
    names = [f"python3.{minor}" for minor in (10, 9, 8)]
    found = [shutil.which(name) for name in names]
    found += [str(p) for n in names for p in Path.home().glob(f".pyenv/versions/*/bin/{n}")]
    old = [path for path in found if path and not subprocess.run([path, "-c", ""]).returncode]
    if not old:
        pytest.skip("no older Python here")
    done = subprocess.run([old[0], "-m", "fedmpi", "doctor"], capture_output=True, text=True,
                          env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path, timeout=SOON)
    level, text = finding(done, "python")
    assert (done.returncode, level) == (1, "wrong"), done.stderr
    assert "make PYTHON=" in text


def other_mpiexec():
    """Return the folder of a launcher of the MPI that this environment does not have, or skip."""
    mine = mpiexec(1)[0]
    for folder in (Path("/tmp/ompi-venv/bin"), *map(Path, os.environ["PATH"].split(":"))):
        path = folder / "mpiexec"
        if path.is_file() and kind(path) not in ("", kind(mine)):
            return folder
    pytest.skip("no mpiexec of another MPI here")


def kind(path):
    """Return which MPI a launcher belongs to; empty if it does not start."""
    done = subprocess.run([path, "--version"], capture_output=True, text=True)
    return family(done.stdout)


def test_the_launcher_of_another_mpi_for_real(run_fedmpi):
    folder = other_mpiexec()
    path = f"{folder}:{os.environ['PATH']}"
    done = run_fedmpi("doctor", PATH=path)
    level, text = finding(done, "launcher")
    assert (done.returncode, level) == (1, "wrong")
    assert f"{mpiexec(1)[0]} -n N" in text
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    words = [folder / "mpiexec", "-n", "2", sys.executable, "-m", "fedmpi", "doctor"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SOON,
                          env=os.environ | root | {"PATH": path, "PYTHONPATH": str(ROOT)})
    assert done.returncode != 0
    level, text = finding(done, "ranks")  # once, although each of the two thinks it is the first
    assert level == "wrong" and "2 processes, and each takes itself for the only rank" in text


@pytest.mark.parametrize(
    ("plugins", "level", "text"),
    [("none\n\tcray_shasta", "wrong", "cannot join ranks"),
     ("none\n\tpmi2\n\tpmix", "note", "needs pm")],
)
def test_a_slurm_without_pmi_is_told(run_fedmpi, tmp_path, plugins, level, text):
    """A stand-in for an srun that was built without PMI, on a machine without a cluster."""
    answer = f"printf 'MPI plugin types are...\\n\t{plugins}\\n' >&2"
    for name, line in (("srun", answer), ("scontrol", "exit 1")):  # the real one would try for long
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = run_fedmpi("doctor", SLURM_MPI_TYPE="", **env)
    found, line = finding(done, "slurm")
    assert found == level and text in line


def test_quotas_of_control_groups_bound_the_cores(tmp_path):
    (tmp_path / "job/step").mkdir(parents=True)
    (tmp_path / "job/cpu.max").write_text("250000 100000\n")
    (tmp_path / "job/step/cpu.max").write_text("max 100000\n")
    (tmp_path / "cpu/a").mkdir(parents=True)
    (tmp_path / "cpu/a/cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu/a/cpu.cfs_period_us").write_text("100000\n")
    found = cores.quotas(tmp_path, "4:cpu:/a\n3:memory:/x\n0::/job/step\n")
    assert found == [2.5]
    assert (cores.usable(8, found), cores.usable(1, found), cores.usable(4, [0.5])) == (2, 1, 1)


def test_slurm_is_judged_by_what_the_library_needs():
    both = ["none", "pmi2", "pmix"]
    assert mpi_library.slurm({}, MPICH, None) is None
    assert mpi_library.slurm({}, MPICH, both, "none").level == "note"
    assert mpi_library.slurm({}, MPICH, both, "pmi2").level == "ok"
    assert mpi_library.slurm({"SLURM_MPI_TYPE": "pmix"}, OPEN_MPI, both, "pmi2").level == "ok"
    assert mpi_library.slurm({"SLURM_MPI_TYPE": "pmi2"}, OPEN_MPI, both).level == "wrong"
    assert mpi_library.slurm({"SLURM_MPI_TYPE": "pmix"}, MPICH, both).level == "note"
    assert mpi_library.slurm({}, MPICH, ["none", "pmix"]).level == "note"
    cray = "MPI VERSION : CRAY MPICH version 8.1.25"
    assert mpi_library.slurm({"SLURM_MPI_TYPE": "cray_shasta"}, cray, ["cray_shasta"]).level == "ok"
    assert mpi_library.slurm({}, MPICH, ["none", "cray_shasta"]).level == "wrong"
    without = mpi_library.slurm({}, OPEN_MPI, ["none", "pmi2"])
    assert without.level == "wrong" and "mpirun" in without.remedy


# Recorded answers of srun --mpi=list and MPI_Get_library_version on clusters.
CRAY = "MPI VERSION : CRAY MPICH version 8.1.28.2 (ANL base 3.4a2)"
PARASTATION = "ParaStation MPI 5.10.0-1 (MPICH 4.1.2)"


@pytest.mark.parametrize(
    ("library", "plugins", "named", "level"),
    [
        (PARASTATION, ["none", "pspmi", "pspmix"], "pspmix", "ok"),
        (PARASTATION, ["none", "pspmi"], "pspmi", "ok"),
        (PARASTATION, ["none", "pmix_v4"], "pmix_v4", "ok"),
        (PARASTATION, ["none", "cray_shasta"], "", "wrong"),
        (MPICH, ["none", "pspmi", "pspmix"], "pspmi", "ok"),
        (OPEN_MPI, ["none", "pspmix"], "pspmix", "ok"),
        (OPEN_MPI, ["none", "pmix_v5", "pmix"], "pmix_v5", "ok"),
        (OPEN_MPI, ["none", "pspmi"], "", "wrong"),
        (CRAY, ["none", "cray_shasta", "pmi2", "pmix"], "cray_shasta", "ok"),
        (CRAY, ["none", "cray_shasta"], "none", "wrong"),
    ],
)
def test_plugins_are_matched_by_family(library, plugins, named, level):
    assert family(library) in ("MPICH", "Open MPI")
    assert mpi_library.slurm({"SLURM_MPI_TYPE": named}, library, plugins).level == level


def test_the_collectives_are_tried_on_ranks_that_it_starts(run_fedmpi):
    done = run_fedmpi("doctor", "--mpi", "2", "--seconds", "0.5")
    assert finding(done, "ranks")[1] == "2 on 1 node"
    for name in ("sum", "gather", "exchange", "broadcast"):
        level, text = finding(done, name)
        assert level == "ok" and re.fullmatch(r"[\d,]+ us, [\d,]+ MB/s", text)


def test_the_ranks_import_nothing_from_the_folder_where_it_is_started(run_python, tmp_path):
    (tmp_path / "random.py").write_text("raise SystemExit('a file of the folder ran')")
    words = ("-P", "-m", "fedmpi", "doctor", "--mpi", "2", "--seconds", "0.1")
    done = run_python(*words, timeout=240, cwd=tmp_path)
    assert "a file of the folder ran" not in done.stdout + done.stderr
    assert finding(done, "ranks")[1] == "2 on 1 node"


class Broken(Serial):
    """One rank whose sums are wrong."""

    def sum_array(self, array):
        """Return other numbers, but for the count of faults."""
        return array if len(array) == 1 and array[0] == 1 else array + 1


def test_a_collective_with_a_wrong_result_is_found():
    found = {finding.what: finding.level for finding in traffic.traffic(Broken(), 0.01)}
    assert found["sum"] == "wrong" and set(found) == {"sum", "gather", "exchange", "broadcast"}


V3 = ("fpu sse2 cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3 avx avx2 bmi1 bmi2 f16c fma abm movbe "
      "xsave")
V4 = V3 + " avx512f avx512bw avx512cd avx512dq avx512vl avx512_vnni"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu sse2", "x86-64"), (V3, "x86-64-v3"), (V4, "x86-64-v4 avx512_vnni"),
     (V3.replace("fma ", ""), "x86-64-v2"), ("fpu", "unknown")],
)
def test_the_instruction_set_of_a_processor(flags, expected):
    cpuinfo = f"processor\t: 0\nmodel name\t: AMD EPYC 7763\nflags\t\t: {flags}\n"
    assert processors.model(cpuinfo) == "AMD EPYC 7763"
    assert processors.instructions(cpuinfo) == expected
    assert processors.instructions("Features\t: fp asimd sve\n") == "sve asimd"


def test_nodes_with_other_processors_and_clocks_are_named():
    hosts = ["n1", "n1", "n2", "n3"]
    assert processors.processors(hosts, ["a"] * 4).level == "ok"
    found = processors.processors(hosts, ["a", "a", "b", "b"])
    assert found.level == "note" and found.value.startswith("a on n1; b on n2, n3:")
    assert clocks.clocks(hosts, [10.0, 10.0, 10.01, 10.0]).level == "ok"
    found = clocks.clocks(hosts, [10.0, 10.0, 7.5, 10.0])
    assert found.level == "note" and found.value == "n2 is 2.5 s behind"


def test_a_driver_that_is_too_old_for_torch():
    driver = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Tue Oct 12 2021\n"
    assert "driver 525; this machine has 470" in gpu.gpu("cuda", "12.6", 0, None, driver).value
    assert gpu.gpu("cuda", "11.8", 1, None, driver).level == "ok"
    opened = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
    assert gpu.gpu("cuda", "13.0", 2, None, opened).level == "ok"


def test_one_process_in_a_larger_job_is_noted():
    batch = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}
    found = mpi_library.ranks(batch, 1, 1, MPICH, [])
    assert found.level == "note" and "srun fedmpi" in found.remedy
    steps = batch | {"SLURM_STEP_NUM_TASKS": "4"}
    lone = mpi_library.ranks(steps, 1, 1, MPICH, [("/a/mpiexec", MPICH)])
    assert lone.level == "wrong" and "srun --mpi=pmi2" in lone.remedy


@pytest.mark.parametrize(
    ("build", "count", "visible", "remedy"),
    [(None, 0, None, "pip install torch"), ("12.6", 0, "", "unset CUDA_VISIBLE_DEVICES"),
     ("12.6", 0, None, "nvidia-smi"), ("12.6", 2, "0,1", "")],
)
def test_a_missing_gpu_has_several_reasons(build, count, visible, remedy):
    assert gpu.gpu("auto", build, count, visible) is None
    found = gpu.gpu("cuda", build, count, visible)
    assert (found.level == "ok") == (not remedy) and found.remedy.startswith(remedy)


def test_more_ranks_than_the_memory_of_a_gpu_allows():
    assert gpu.shared(4, (), (), 10**9) is None
    assert gpu.shared(4, [80 * 10**9] * 2, ["NVIDIA H100"] * 2, 10**9).level == "ok"
    found = gpu.shared(12, [10 * 10**9], ["NVIDIA H100 MIG 1g.10gb"], 10**9)
    assert found.level == "wrong" and "MIG slice" in found.value
    assert found.remedy.startswith("at most 10 ranks")


def test_no_library_and_no_launcher():
    assert mpi_library.library("", "cannot load MPI library").level == "wrong"
    assert mpi_library.launcher({}, MPICH, []).level == "note"
    assert mpi_library.launcher({}, MPICH, [("/a", "mpiexec (OpenRTE) 4.1.4")]).level == "wrong"
    assert python.python((3, 12, 1), "/p").level == "ok"
