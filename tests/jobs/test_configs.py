"""This version can run every experiment under jobs/configs, and the demo."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fedmpi.experiment import resolve
from fedmpi.scheduler import sweep
from tests.conftest import SOON

ROOT = Path(__file__).resolve().parents[2]
PAPERS = sorted((ROOT / "jobs/configs/papers").glob("*/*.toml"))
CONFIGS = sorted((ROOT / "jobs/configs").glob("**/*.toml"))
# Skeletonization has four problems, and "authors" each method's own; elsewhere methods share one.
METHODS = [path for path in PAPERS if path.parent.name not in ("skeletonization", "authors")]
SPLITS = {
    "fashion-mnist": [["data.partition=pathological"]],
    "cifar-10": [
        ["data.partition=dirichlet", "data.alpha=1.0"],
        ["data.partition=mixed"],
        ["clients.number=10000", "clients.per_round=10", "clients.local_epochs=1"],
    ],
    "feddip": [["data.partition=pathological"]],
    "adp-cifar": [["model.name=resnet32"]],
}


def shown(path):
    """Name a configuration in the list of tests."""
    return str(path.relative_to(ROOT / "jobs/configs"))


def test_there_are_experiments_for_the_papers():
    folders = {path.parent.name for path in PAPERS}
    assert folders == {
        "fashion-mnist", "cifar-10", "digits", "skeletonization", "fedskel-mnist", "fedskel-cifar",
        "feddip", "adp-cifar", "authors", "newer",
    }  # fmt: skip
    assert len(PAPERS) >= 60


@pytest.mark.parametrize("path", CONFIGS, ids=shown)
def test_it_resolves(path):
    found = resolve.read(path)
    assert found.values()["algorithm"]["name"] == found.config.algorithm.name


@pytest.mark.parametrize("name", ["policies", "selection", "compression"])
def test_every_point_of_a_sweep_resolves_and_has_three_seeds(name):
    plan = sweep.read(ROOT / f"jobs/sweeps/{name}.toml")
    values = [resolve.read(plan.base, point.overrides()).values() for point in plan.points]
    assert [tree["run"]["seed"] for tree in values] == sorted([1, 2, 3] * (len(values) // 3))
    if name == "policies":  # rows that are compared differ in a single key
        first = {point.name[:-7]: flat for point, flat in zip(plan.points, values, strict=True)}
        for one, other, section in (
            ("fedskel-0.5-deadline", "fedskel-1.0-deadline", "algorithm"),
            ("fedskel-0.5-deadline", "fedskel-0.5-fit", "devices"),
            ("fedskel-1.0-deadline", "fedskel-1.0-fit", "devices"),
            ("fedskel-0.5-deadline", "fedskel-0.5", "schedule"),
            ("fedavg-deadline", "fedskel-1.0-deadline", "algorithm"),
        ):
            unlike = [key for key in first[one] if first[one][key] != first[other][key]]
            assert unlike == ["run", section]  # of [run], the name


@pytest.mark.parametrize("path", PAPERS, ids=shown)
def test_it_resolves_with_the_overrides_of_its_study(path):
    for overrides in SPLITS.get(path.parent.name, []):
        resolve.read(path, overrides)


@pytest.mark.parametrize("path", PAPERS, ids=shown)
def test_it_opens_with_what_it_is_the_paper_and_its_own_command(path):
    text = path.read_text()
    head = text[: text.index("[run]")]
    assert "Paper: " in head
    assert "bout " in head or "minute" in head
    assert f"fedmpi run {path.relative_to(ROOT)} -o " in head
    assert resolve.read(path).config.run.name == path.stem
    assert re.search(r"^seed = 1$", text, re.M)


@pytest.mark.parametrize("path", METHODS, ids=shown)
def test_methods_of_one_study_differ_in_nothing_else(path):
    base = resolve.read(path.with_name("fedavg.toml")).values()
    found = resolve.read(path).values()
    for section in ("data", "clients", "model", "optimizer", "devices", "network"):
        assert found[section] == base[section]
    # How often a checkpoint is written has no part in the science; rounds have.
    assert found["run"]["rounds"] == base["run"]["rounds"]


def test_the_script_lists_what_it_runs(tmp_path):
    script = ROOT / "jobs/papers.sh"
    done = subprocess.run(
        ["bash", script, tmp_path, "nonsense"],
        capture_output=True, text=True, timeout=SOON,
        env={"PATH": "/usr/bin:/bin", "FEDMPI_DATA": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode != 0
    assert "no study nonsense" in done.stderr


def test_the_script_writes_to_a_folder_with_a_space(tmp_path):
    """A stand-in for fedmpi prints the words that it gets, a line each."""
    (tmp_path / "jobs").mkdir()
    for name in ("papers.sh", "start.sh"):
        shutil.copy(ROOT / "jobs" / name, tmp_path / "jobs")
    folder = tmp_path / ".venv/bin"
    folder.mkdir(parents=True)
    (folder / "fedmpi").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (folder / "fedmpi").chmod(0o755)
    out, other = tmp_path / "it's a folder", tmp_path / "other"
    for name in (out.name, "jobs/.."):
        (other / name).mkdir(parents=True, exist_ok=True)  # where CDPATH would lead
    env = {"FEDMPI_DATA": str(tmp_path), "SEEDS": "7", "JOBS": "1", "CDPATH": str(other)}
    done = subprocess.run(
        ["bash", "jobs/papers.sh", out.name, "rate"], capture_output=True, text=True,
        timeout=SOON, env=os.environ | env, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = str(out / "rate/fedavg_seed=7.h5")
    words = ["run", "jobs/configs/papers/fashion-mnist/fedavg.toml", "-o", written, "--quiet",
             "--set", "run.seed=7", "--set", "optimizer.lr=0.05", written]  # fmt: skip
    assert done.stdout.splitlines()[: len(words)] == words
    assert len(list(out.iterdir())) == 2


def test_the_demo_asks_open_mpi_for_more_ranks_than_cores(tmp_path):
    """It sets the variable that Open MPI's launcher reads; this launcher only prints it."""
    (tmp_path / "jobs").mkdir()
    shutil.copy(ROOT / "jobs/demo.sh", tmp_path / "jobs")
    folder = tmp_path / ".venv/bin"
    folder.mkdir(parents=True)
    (folder / "mpiexec").write_text('#!/bin/sh\necho "$2 $PRTE_MCA_rmaps_default_mapping_policy"\n')
    (folder / "fedmpi").write_text("#!/bin/sh\n")
    for program in folder.iterdir():
        program.chmod(0o755)
    environ = {name: text for name, text in os.environ.items() if not name.startswith("PRTE")}
    done = subprocess.run(["bash", tmp_path / "jobs/demo.sh"], env=environ, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n\n")[0].splitlines() == ["4 :oversubscribe"] * 2
