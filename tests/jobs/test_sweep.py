"""Sweeps: their points, names and table; and their runs here, also after interrupted sweeps."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from fedmpi import cli
from fedmpi.cli import sweeps
from fedmpi.errors import ConfigError, ResultError
from fedmpi.experiment.resolve import of_tree, resolve
from fedmpi.record import reader
from fedmpi.scheduler import sweep
from fedmpi.scheduler.snapshot import Snapshot
from tests.conftest import ROOT

BASE = """
[run]
rounds = 2
[clients]
number = 8
per_round = 2
local_steps = 1
batch_size = 16
"""


def names(tree):
    """Return the names of a sweep's points."""
    return [point.name for point in sweep.points(tree, "s.toml")]


def test_the_brackets_of_a_list_leave_no_minus():
    found = names({"grid": {"model": {"hidden": [[3], -3, [3, 4], ["a", "b"]]}}})
    assert found == ["hidden=3", "hidden=-3", "hidden=3-4", "hidden=a-b"]


def test_points_are_seeds_times_cases_times_grid():
    tree = {
        "seeds": [3, 4],
        "set": {"run": {"rounds": 5}},
        "grid": {"optimizer": {"lr": [0.1, 0.05]}, "data.partition": ["iid"]},
        "cases": [{"name": "avg"}, {"name": "lp", "algorithm": {"name": "fedlp", "p": 0.4}}],
    }
    assert names(tree) == [
        f"{case}_lr={lr}_partition=iid_seed={seed}"
        for seed in (3, 4) for case in ("avg", "lp") for lr in ("0.1", "0.05")
    ]
    point = sweep.points(tree, "s.toml")[2]
    assert point.overrides() == [
        'run.name="lp_lr=0.1_partition=iid_seed=3"', "run.rounds=5", 'algorithm.name="fedlp"',
        "algorithm.p=0.4", "optimizer.lr=0.1", 'data.partition="iid"', "run.seed=3",
    ]
    assert names({}) == ["run"]


def test_names_are_safe_readable_and_different():
    roots = ["../../etc/passwd", "a b;rm", "a b rm"]
    tree = {"grid": {"data.root": roots, "x.lr": [1], "y.lr": [2]}}
    found = names(tree)
    assert found[0] == "root=etc-passwd_x.lr=1_y.lr=2"
    assert found[1] != found[2] and found[1].startswith("root=a-b-rm_x.lr=1_y.lr=2_")
    assert names(tree) == found
    (long,) = names({"cases": [{"name": "x" * 500}]})
    assert len(long) < 160
    assert names({"cases": [{"name": "-rf"}, {"name": "..hidden"}]}) == ["rf", "hidden"]


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        ({"seeds": [1, 1]}, "seeds"), ({"seeds": [True]}, "seeds"), ({"seeds": 3}, "seeds"),
        ({"grid": {"a.b": 1}}, "a.b"), ({"grid": {"a.b": []}}, "a.b"), ({"grid": 3}, "grid"),
        ({"grid": {"a.b": [1, 1]}}, "twice"), ({"grid": {"top": [1]}}, "optimizer.lr"),
        ({"grid": {"a.b": ["x\ty"]}}, "printable"), ({"set": {"a.b\n": 1}}, "optimizer.lr"),
        ({"cases": [{"algorithm": {"name": "x"}}]}, "a name of its own"),
        ({"cases": [{"name": "a"}, {"name": "a"}]}, "a name of its own"),
        ({"cases": {"name": "a"}}, "cases"),
        ({"cases": [{"name": "a", "set": {"algorithm": {"p": 1}}}]},
         r"s.toml: cases: a: set: .* such as \[cases.algorithm\]"),
        ({"grid": {f"a.k{i}": [1, 2, 3] for i in range(40)}}, "make several"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(tree, fault):
    with pytest.raises(ConfigError, match=fault):
        sweep.points(tree, "s.toml")


@pytest.fixture
def two_seeds(tmp_path):
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "s.toml").write_text('base = "base.toml"\nseeds = [0, 1]\n')
    return tmp_path / "s.toml"


def test_a_sweep_here_skips_what_is_finished_and_resumes_the_rest(
    two_seeds, run_fedmpi, tmp_path
):
    done = run_fedmpi("sweep", two_seeds, "-o", "out", "--dry-run")
    assert done.returncode == 0 and "2 points, 2 not finished" in done.stdout
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").write_text("")
    done = run_fedmpi("sweep", two_seeds, "-o", "out", "--dry-run")
    assert done.returncode == 2 and "out: is a file; give the name of a folder" in done.stderr
    (tmp_path / "out").unlink()
    (tmp_path / "out").mkdir()
    first = run_fedmpi("run", "base.toml", "-o", "out/seed=0.h5", "--set", "run.name=seed=0")
    assert first.returncode == 0, first.stderr
    with reader.open(tmp_path / "out/seed=0.h5") as run:
        created = run.created
    done = run_fedmpi("sweep", two_seeds, "-o", "out", "--ranks", "2")
    assert done.returncode == 0, done.stderr
    assert "2 points, 1 not finished" in done.stdout and "[1/1] seed=1" in done.stdout
    with reader.open(tmp_path / "out/seed=0.h5") as run:
        assert run.created == created
    with reader.open(tmp_path / "out/seed=1.h5") as run:
        assert (run.ranks, run.status, run.config["run"]["seed"]) == (2, "finished", 1)
    (tmp_path / "base.toml").write_text(BASE.replace("local_steps = 1", "local_steps = 2"))
    done = run_fedmpi("sweep", two_seeds, "-o", "out")
    assert done.returncode == 1 and "clients.local_steps = 1, now it is 2" in done.stderr


def test_a_failed_point_does_not_stop_the_others_and_is_named(two_seeds, run_fedmpi, tmp_path):
    bad = '[[cases]]\nname = "bad"\ndata = {name = "mnist", root = "/nonesuch"}\n'
    two_seeds.write_text(f'base = "base.toml"\n{bad}[[cases]]\nname = "good"\n')
    done = run_fedmpi("sweep", two_seeds, "-o", "out")
    assert done.returncode == 1 and done.stderr.endswith("fedmpi: bad failed, see above\n")
    with reader.open(tmp_path / "out/good.h5") as run:
        assert run.status == "finished"


def test_every_point_is_checked_before_the_first_runs(two_seeds, run_fedmpi, tmp_path):
    cases = '[[cases]]\nname = "good"\n[[cases]]\nname = "bad"\nmodel.name = "nonesuch"\n'
    two_seeds.write_text(f'base = "base.toml"\n{cases}')
    done = run_fedmpi("sweep", two_seeds, "-o", "out")
    assert done.returncode == 2 and "point bad: " in done.stderr and "nonesuch" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_sweep_that_is_told_to_stop_keeps_everything(two_seeds, run_fedmpi, tmp_path):
    two_seeds.write_text('base = "base.toml"\nseeds = [0, 1]\nset.run.rounds = 300\n')
    words = [sys.executable, "-m", "fedmpi", "sweep", "s.toml", "-o", "out"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (tmp_path / "out/seed=0.h5").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=20)
    assert process.returncode == 75, text
    with reader.open(tmp_path / "out/seed=0.h5") as run:
        assert run.status == "stopped"
    assert not (tmp_path / "out/seed=1.h5").exists()


def test_a_sweep_starts_its_own_ranks(two_seeds, run_fedmpi):
    done = run_fedmpi("sweep", two_seeds, "-o", "out", ranks=2)
    assert done.returncode != 0 and "use --ranks N" in done.stderr


@pytest.mark.parametrize(("words", "fault"), [
    (["--submit", "--ranks", "2"], "--ranks 2: is for runs here; .* --nodes times --tasks-per-n"),
    (["--pack", "2"], "--pack N goes with --submit"),
    (["--submit", "--pack", "2", "--tasks-per-node", "3"], "leave --tasks-per-node out"),
    (["--submit", "--pack", "0"], "--pack 0: must be 1 or more"),
    (["--nodes", "2"], "--nodes: is for jobs; add --submit, or leave it out"),
    (["--exclusive", "--dry-run"], "--exclusive: is for jobs"),
    (["--sbatch=--comment=x"], "--sbatch: is for jobs"),
    (["--parallel", "2"], "--parallel: is for jobs"),
])
def test_options_of_jobs_and_of_runs_here_do_not_mix(words, fault, tmp_path):
    args = cli.parse(cli._parser(), ["sweep", "no.toml", "-o", str(tmp_path / "out"), *words])
    with pytest.raises(ConfigError, match=fault):
        args.verb(args)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_named(two_seeds, capsys):
    words = ["sweep", str(two_seeds), "-o", str(two_seeds / "out")]
    assert cli.main(words) == 1
    said = f"{two_seeds / 'out'}: cannot be written: Not a directory; choose another place"
    assert capsys.readouterr().err == f"fedmpi: {said}\n"


def test_a_second_submission_waits_for_the_first(two_seeds, tmp_path):
    """Or both would submit the same points."""
    words = ["sweep", str(two_seeds), "-o", str(tmp_path / "out"), "--submit"]
    args = cli.parse(cli._parser(), words)
    kept = Snapshot(tmp_path / "out/sweep.job")
    kept.folder.parent.mkdir()
    with kept.alone(), pytest.raises(ResultError, match="another submission is under way"):
        args.verb(args)
    assert [path.name for path in kept.folder.iterdir()] == ["submitted"]


def test_a_submission_whose_folder_goes_is_refused(tmp_path, monkeypatch):
    """It held the lock of a removed file, and a third command could submit the same points."""
    kept = Snapshot(tmp_path / "sweep.job")
    monkeypatch.setattr("fcntl.flock", lambda *_: shutil.rmtree(kept.folder))
    with pytest.raises(ResultError, match="has just removed it"), kept.alone():
        pytest.fail("it went on")


def test_what_cannot_be_submitted_leaves_no_files(two_seeds, tmp_path):
    words = ["sweep", str(two_seeds), "-o", str(tmp_path / "out"), "--submit"]
    args = cli.parse(cli._parser(), [*words, "--scheduler", "flux", "--parallel", "1"])
    with pytest.raises(ConfigError, match="Flux has no arrays"):
        args.verb(args)
    assert not list((tmp_path / "out").iterdir())


def test_a_result_is_compared_as_its_file_keeps_it():
    """Lists of a configuration are tuples in memory, and lists in the file."""
    values = of_tree({"model": {"name": "mlp"}, "algorithm": {"name": "heterofl"}}).values()
    kept = json.loads(json.dumps(values))
    sweeps._same(kept, values, "a.h5")
    kept["model"]["hidden"] = [64]
    with pytest.raises(ResultError, match=r"a\.h5: was made with model\.hidden = \[64\], now"):
        sweeps._same(kept, values, "a.h5")


def test_stages_may_be_swept():
    stage = [{"name": "compress", "bound": 0.1}]
    (point,) = sweep.points({"cases": [{"name": "small", "stage": stage}]}, "s.toml")
    (found,) = resolve("", "s.toml", point.overrides()).config.stage
    assert found.name == "compress"


def test_the_jobs_of_a_sweep_have_the_files_that_its_points_name(run_fedmpi, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sbatch").write_text("#!/bin/bash\necho 4711\n")
    (tmp_path / "bin/sbatch").chmod(0o755)
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans/base.toml").write_text(BASE)
    for name in ("slow.csv", "fast.csv"):
        row = "gflop_s,up_mbit_s,down_mbit_s,latency_s\n1,1,1,0.1\n"
        (tmp_path / "plans" / name).write_text(row)
    plan = 'base = "base.toml"\n[grid]\ndevices.profile = ["slow.csv", "fast.csv"]\n'
    (tmp_path / "plans/s.toml").write_text(plan)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    done = run_fedmpi("sweep", "plans/s.toml", "-o", "out", "--submit", PATH=path)
    assert done.returncode == 0, done.stderr
    kept = Snapshot(tmp_path / "out/sweep.job")
    for point in sweep.read(tmp_path / "plans/s.toml").points:
        text = kept.config.read_text()
        assert resolve(text, str(kept.config), point.overrides()).config.devices.tiers


def test_a_sweep_here_leaves_the_points_of_jobs_alone(two_seeds, run_fedmpi, tmp_path):
    """Two programs then wrote one file, and one of the two failed."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/squeue").write_text("#!/bin/bash\necho 0\n")
    (tmp_path / "bin/squeue").chmod(0o755)
    kept = Snapshot(tmp_path / "my out/sweep.job")
    kept.folder.mkdir(parents=True)
    kept.note("slurm", ["17"], [("0", [1]), ("1", [2])])
    done = run_fedmpi("sweep", two_seeds, "-o", "my out",
                      PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert done.returncode == 0 and "1 of them wait or run already" in done.stdout, done.stderr
    assert [path.name for path in (tmp_path / "my out").glob("*.h5")] == ["seed=1.h5"]
    assert f"fedmpi compare '{tmp_path}/my out'/*.h5" in done.stdout


def test_a_table_that_cannot_be_written_is_named(two_seeds, tmp_path):
    """The message named a temporary file, which stayed in the folder, and --debug."""
    points = sweep.read(two_seeds).points
    full = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, full[1]))
    try:
        with pytest.raises(ResultError, match=r"points.tsv: cannot be written: File too large; ch"):
            sweep.write_table(tmp_path, points)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, full)
        signal.signal(signal.SIGXFSZ, before)
    assert not list(tmp_path.glob("points*"))
    sweep.write_table(tmp_path, points)
    assert [path.name for path in tmp_path.glob("points*")] == ["points.tsv"]


def test_a_refused_submission_leaves_no_table(two_seeds, run_fedmpi, tmp_path):
    """A changed grid was then refused as another sweep, though no job read the table."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sbatch").write_text("#!/bin/bash\necho 'error: Invalid account' >&2; exit 1\n")
    (tmp_path / "bin/sbatch").chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    words = ("sweep", two_seeds, "-o", "out", "--submit")
    done = run_fedmpi(*words, PATH=path)
    assert done.returncode == 1 and "2 of 2 points not submitted" in done.stderr, done.stderr
    assert not (tmp_path / "out/points.tsv").exists()
    (tmp_path / "out/points.tsv").write_text(old := sweep.table(sweep.read(two_seeds).points[:1]))
    assert run_fedmpi(*words, PATH=path).returncode == 1
    assert (tmp_path / "out/points.tsv").read_text() == old
