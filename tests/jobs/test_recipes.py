"""The recipes of other package systems have setup.cfg's requirements; the scaling script runs."""

import configparser
import os
import re
import sys

import pytest

import fedmpi
from tests.conftest import ROOT, run_group

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
NEEDED = dict(re.findall(r"^([a-z0-9-]+) >=(\S+)$", SETUP["options"]["install_requires"], re.M))
CONFIG = """
[run]
rounds = 5
[clients]
number = 16
per_round = 4
local_steps = 1
batch_size = 8
"""


def test_the_conda_recipe():
    text = (ROOT / "recipe/meta.yaml").read_text()
    assert f'{{% set version = "{fedmpi.__version__}" %}}' in text
    needs = dict(re.findall(r"^    - ([a-z0-9]+) >=(\S+)$", text.split("  run:")[1], re.M))
    assert needs.pop("python") == SETUP["options"]["python_requires"].removeprefix(">=")
    needs["torch"] = needs.pop("pytorch")
    assert needs == NEEDED


def test_the_spack_package():
    text = (ROOT / "packaging/spack/py-fedmpi/package.py").read_text()
    compile(text, "package.py", "exec")
    needs = dict(re.findall(r'depends_on\("py-([a-z0-9]+)@(\S+):", type=\("build", "run"', text))
    trimmed = {name: re.sub(r"\.0$", "", version) for name, version in NEEDED.items()}
    assert needs == trimmed


def test_the_easyconfig():
    (path,) = (ROOT / "packaging/easybuild").glob("*.eb")
    assert path.name.startswith(f"fedmpi-{fedmpi.__version__}-")
    listed = re.findall(r"^    \('([\w-]+)', '[\d.]+'\),", path.read_text(), re.M)
    names = {name.lower() for name in listed}
    bundles = {"numpy": "scipy-bundle", "torch": "pytorch", "rich": "python-bundle-pypi"}
    assert {bundles.get(name, name) for name in NEEDED} <= names


@pytest.mark.parametrize("more", [[], ["--weak", "--per-rank", "2"]])
def test_the_scaling_script_prints_a_line_for_each_number_of_ranks(tmp_path, more):
    (tmp_path / "a.toml").write_text(CONFIG)
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    env = {k: v for k, v in os.environ.items() if k != "FEDMPI_RANKS"}
    words = [sys.executable, ROOT / "jobs/scaling.py", "a.toml", "-o", "s", "--ranks", 1, 2, *more]
    done = run_group(words, 240, cwd=tmp_path,
                     env=env | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    head, *lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert head == ["ranks", "round_s", "clients_per_s", "speedup", "efficiency"]
    assert [line[0] for line in lines] == ["1", "2"] and lines[0][3:] == ["1.00", "1.00"]
    speedup, efficiency = map(float, lines[1][3:])
    assert abs(speedup / 2 - efficiency) < 0.011
    with fedmpi.open(tmp_path / "s/2.h5") as run:
        assert run.ranks == 2 and set(run.rounds["clients_selected"]) == {4}
