"""PBS and Flux, by stand-ins that answer as the manuals of the commands say: none is real."""

import errno
import fcntl
import os
import shlex
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from fedmpi.errors import ConfigError, FedmpiError, ResultError
from fedmpi.scheduler import SCHEDULERS, flux, pbs
from fedmpi.scheduler.options import Options
from fedmpi.scheduler.script import Script
from fedmpi.scheduler.snapshot import Snapshot
from tests.conftest import SOON

# Both note their words. qsub and flux batch print the new job's name; ranks leave with 75 when
# they are told, or with $CODE at once.
NOTE = '#!/bin/bash\necho "$(basename "$0") $*" >>"$NOTES"\n'
RANKS = """
trap 'exit 75' USR1
[[ $CODE != wait ]] || while :; do sleep 0.02; done
exit "$CODE"
"""
COMMANDS = {
    "qsub": "cat >\"$NOTES.script\"\necho 4712.pbs01\n",
    "pbsdsh": "exit 1\n",
    "mpiexec": RANKS,
    "qstat": """
case "$*" in
*4711.pbs01) printf 'Job id Name User Time Use S Queue\\n4711.pbs01 a me 0 Q work\\n' ;;
*'4713[].pbs01')
    printf '%s a me 0 %s work\\n' '4713[].pbs01' B '4713[0].pbs01' X '4713[1].pbs01' R ;;
-Bf) printf 'Server: pbs01\\n    max_array_size = 250\\n' ;;
*) echo "qstat: Unknown Job Id $*" >&2; exit 153 ;;
esac
""",
    "flux": """
case "$*" in
"getattr jobid") echo f4711 ;;
"getattr size") echo 2 ;;
"getattr hostlist") echo "n[1-2]" ;;
run*--cores-per-task*) """ + RANKS + """ ;;
run*) exit 1 ;;
*batch*) echo f4712 ;;
"jobs --no-header --format={state} f4711") echo SCHED ;;
"jobs --no-header --format={state} f4710") echo INACTIVE ;;
jobs*) echo "flux-jobs: ERROR: JobID ${*: -1} unknown" >&2; exit 1 ;;
esac
""",
}


@pytest.fixture
def env(tmp_path):
    """Return the environment of a machine with these commands."""
    (tmp_path / "bin").mkdir()
    for name, text in COMMANDS.items():
        path = tmp_path / "bin" / name
        path.write_text(NOTE + text)
        path.chmod(0o755)
    (tmp_path / "nodes").write_text("n1\nn1\nn2\nn2\n")
    return {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "NOTES": str(tmp_path / "notes"),
        "CODE": "0", "HOME": str(tmp_path), "PBS_JOBID": "4711.pbs01",
        "PBS_NODEFILE": str(tmp_path / "nodes"), "PBS_O_WORKDIR": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def submit(run_fedmpi, tmp_path, env):
    """Return submit(scheduler, *words): the verb, for a.toml and a.h5, on that machine."""
    (tmp_path / "a.toml").write_text("[run]\nrounds = 3\n")
    known = {key: env[key] for key in ("PATH", "NOTES", "HOME")}

    def run(scheduler, *words):
        return run_fedmpi("submit", "a.toml", "-o", "a.h5", "--scheduler", scheduler,
                          "--nodes", "2", "--tasks-per-node", "2", *words, **known)

    return run


def start(tmp_path, env, scheduler):
    """Run the submitted script to its end; return its exit code, and the log of the job."""
    script = tmp_path / f"a.job/job.{scheduler}"
    done = subprocess.run(["bash", script], env=env, timeout=120, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.returncode, (tmp_path / "a.log").read_text()


def test_a_log_in_a_folder_with_a_space_is_one_word_for_pbs():
    lines = pbs.directives(Options(), Path("/my runs/a"))
    assert shlex.split(next(line for line in lines if " -o " in line)) == [
        "#PBS", "-o", "/my runs/a.pbs-log"]


PBS_HEAD = """\
#!/bin/bash
#PBS -N experiment
#PBS -l select=2:ncpus=2:mpiprocs=2:ompthreads=1:mem=16gb
#PBS -l walltime=00:01:00
#PBS -l place=scatter:excl
#PBS -q debug
#PBS -A proj
#PBS -l filesystems=home:eagle
#PBS -o {folder}/a.pbs-log
#PBS -j oe
#PBS -r y
#PBS -V
"""
FLUX_HEAD = """\
#!/bin/bash
# flux: --job-name=experiment
# flux: --nodes=2
# flux: --nslots=4
# flux: --cores-per-slot=1
# flux: --time-limit=60s
# flux: --queue=debug
# flux: --bank=proj
# flux: --exclusive
# flux: --setattr=user.note=x
# flux: --output="{folder}/a.flux-log"
"""
SHORT = ["--time", "1", "--lead", "59", "--partition", "debug", "--account", "proj", "--exclusive"]


@pytest.mark.parametrize(
    ("scheduler", "head", "words", "number", "launched", "again"),
    [
        ("pbs", PBS_HEAD, ["--mem", "16G", "--qsub=-l filesystems=home:eagle"], "4712.pbs01",
         "mpiexec -n 4 --ppn 2 ",
         "qsub -W depend=afterany:4711.pbs01 -v FEDMPI_RESTARTS=1,FEDMPI_TASK=0\n"),
        ("flux", FLUX_HEAD, ["--flux=--setattr=user.note=x"], "f4712",
         "flux run --nodes=2 --ntasks=4 --cores-per-task=1 ",
         "flux --parent batch --dependency=afterany:f4711 {folder}/a.job/job.flux\n"),
    ],
)
def test_a_job_is_told_of_its_limit_and_followed_by_another(
    submit, tmp_path, env, scheduler, head, words, number, launched, again
):
    done = submit(scheduler, *SHORT, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"submitted as job {number}\n  4 ranks on 2 nodes, ")
    script = (tmp_path / f"a.job/job.{scheduler}").read_text()
    assert script.startswith(head.format(folder=tmp_path) + "set -euo pipefail\n")
    code, log = start(tmp_path, env | {"CODE": "wait"}, scheduler)
    assert code == 75 and f"submitted again as job {number}" in log, log
    noted = (tmp_path / "notes").read_text()
    assert launched in noted and again.format(folder=tmp_path) in noted, noted
    assert scheduler == "flux" or (tmp_path / "notes.script").read_text() == script
    rows = (tmp_path / "a.job/submitted").read_text().splitlines()
    assert rows == [f"{scheduler} {number} - -"] * 2


@pytest.mark.parametrize("scheduler", ["pbs", "flux"])
def test_a_job_that_ends_or_fails_or_came_too_often_does_not_come_back(
    submit, tmp_path, env, scheduler
):
    assert submit(scheduler, "--restarts", "3").returncode == 0
    before = (tmp_path / "notes").read_text()
    for code, restarts in ((0, 0), (1, 0), (75, 3)):
        more = {"CODE": str(code), "FEDMPI_RESTARTS": str(restarts)}
        assert start(tmp_path, env | more, scheduler)[0] == code
    noted = (tmp_path / "notes").read_text()[len(before):]
    assert "depend" not in noted


@pytest.mark.parametrize("scheduler", ["pbs", "flux"])
def test_nothing_of_a_job_outlives_it(submit, tmp_path, env, scheduler):
    assert submit(scheduler, "--time", "70").returncode == 0
    start(tmp_path, env | {"JOB_OF_TEST": str(tmp_path)}, scheduler)
    end = time.monotonic() + SOON
    while (left := processes("JOB_OF_TEST", str(tmp_path))) and time.monotonic() < end:
        time.sleep(0.02)  # they have been told, and end on their own
    assert not left


def processes(name, value):
    """Return the words of each process that has this variable in its environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
    return found


@pytest.mark.parametrize(("scheduler", "job", "again"), [
    ("pbs", "4712.pbs01", "qsub -v FEDMPI_RESTARTS=1,FEDMPI_TASK=1\n"),
    ("flux", "f4712", "flux --parent batch --dependency=afterany:f4711 {path}\n"),
])
def test_a_point_of_a_sweep_is_followed_by_a_job_for_it_alone(
    tmp_path, env, scheduler, job, again
):
    (tmp_path / "points.tsv").write_text("file\nx.h5\ny.h5\n")
    kept, options = Snapshot(tmp_path / "s.job"), Options()
    kept.folder.mkdir()
    kept.script(scheduler).with_stem("job-7").touch()  # which another array may still need
    (path,) = kept.new_scripts(scheduler, 1)
    assert path.name == f"job-8.{scheduler}"
    made = Script(scheduler, options, ["fedmpi"], SCHEDULERS[scheduler].launch(options, None))
    path.write_text(made.sweep(kept, path, tmp_path / "points.tsv", [1, 2], False))
    more = {"CODE": "75", "PBS_ARRAY_INDEX": "1", "PBS_JOBID": "4713[1].pbs01", "FEDMPI_TASK": "1"}
    assert subprocess.run(["bash", path], env=env | more, timeout=120).returncode == 75
    assert again.format(path=path) in (tmp_path / "notes").read_text()
    assert kept.submitted() == [[scheduler, job, "-", "2"]]
    if scheduler == "pbs":
        here = path.read_text()
        without = here.replace("#PBS -J 0-1\n", "").replace("-^array_index^.pbs", ".pbs")
        assert (tmp_path / "notes.script").read_text() == without != here


def test_a_folder_without_locks_and_a_full_disk(tmp_path, monkeypatch):
    kept = Snapshot(tmp_path / "s.job")

    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with kept.alone():
        kept.record.unlink()
        kept.record.symlink_to("/dev/full")
        with pytest.raises(ResultError, match="No space left on device; jobs 7 were submitted"):
            kept.note("slurm", ["7"], [("-", ())])
    kept.record.unlink()
    kept.record.mkdir()
    with pytest.raises(ResultError, match="Is a directory; the job's files"), kept.alone():
        pass


def test_which_tasks_wait_or_run(env, tmp_path):
    assert pbs.alive("4711.pbs01", env) == {"-"}
    assert pbs.alive("4713[].pbs01", env) == {"1"}
    assert pbs.alive("1.pbs01", env) == set()
    assert (flux.alive("f4711", env), flux.alive("f4710", env)) == ({"-"}, set())
    assert (flux.alive("f1", env), pbs.state("1.pbs01", "-", env)) == (set(), "")
    assert (pbs.most_tasks(env), flux.most_tasks(env)) == (250, None)
    kept = Snapshot(tmp_path / "s.job")
    kept.folder.mkdir()
    kept.note("pbs", ["4713[].pbs01"], [(0, [3, 4]), (1, [7, 9])])
    kept.note("flux", ["f4711", "f4710"], [(0, [1]), (1, [2])])
    kept.note("pbs", ["4711.pbs01"], [(0, [5])])  # one task is no array there
    assert kept.alive(env) == {
        "7": "4713[].pbs01", "9": "4713[].pbs01", "1": "f4711", "5": "4711.pbs01"}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_command_that_fails_is_no_answer(tmp_path, name):
    """Each failure counted as an empty queue, and the same points were submitted twice."""
    for command in ("squeue", "qstat", "flux"):
        (tmp_path / command).write_text("#!/bin/bash\necho 'cannot connect' >&2\nexit 1\n")
        (tmp_path / command).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    kept = Snapshot(tmp_path / "s.job")
    kept.folder.mkdir()
    kept.note(name, ["17"], [("-", ())])
    with pytest.raises(FedmpiError, match=r"whether job 17 waits or runs.*\n.*\ncannot connect"):
        kept.alive(env)
    with pytest.raises(FedmpiError, match="cannot connect"):
        SCHEDULERS[name].state("17", "-", env)
    assert kept.alive({"PATH": str(tmp_path / "nowhere")}) == {}  # another machine


def test_arrays_of_each():
    lines = pbs.directives(Options(), None, tasks=7, parallel=2)
    assert "#PBS -J 0-6%2" in lines
    assert not [line for line in pbs.directives(Options(), None, tasks=1) if "-J" in line]
    with pytest.raises(ConfigError, match="--parallel: Flux has no arrays"):
        flux.directives(Options(), None, tasks=7, parallel=2)


def test_flux_gets_a_job_for_each_task(env, tmp_path):
    assert flux.submit(tmp_path / "s", env, 3) == ["f4712"] * 3
    noted = (tmp_path / "notes").read_text().splitlines()
    assert noted == [f"flux batch --env=FEDMPI_TASK={i} {tmp_path}/s" for i in range(3)]


def test_flux_leaves_no_task_of_which_nobody_knows(env, monkeypatch):
    asked = []

    def answer(words, environ, without):
        asked.append(words)
        if "--env=FEDMPI_TASK=2" in words:
            raise FedmpiError("flux batch: refused")
        return f"f{len(asked)}"

    monkeypatch.setattr(flux, "answer", answer)
    with pytest.raises(FedmpiError, match="refused"):
        flux.submit("s", env, 4)
    assert asked[-1] == ["flux", "cancel", "f1", "f2"] and len(asked) == 4
