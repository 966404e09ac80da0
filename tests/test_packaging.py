"""The installed package: it has its files, and it works away from the checkout."""

import configparser
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import fedmpi

ROOT = Path(__file__).resolve().parents[1]
KERNEL = "import fedmpi.kernels.sums as m; print(m.__file__)"
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def run(*words, cwd, **env):
    """Run a command that must succeed, with no environment but `env`; return its output."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(cwd)} | env
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shipped():
    """Return the files of fedmpi and kernels by their installed names."""
    folders = ROOT / "fedmpi", ROOT / "kernels", ROOT / "examples"
    files = [path for folder in folders for path in folder.glob("**/*") if path.is_file()]
    names = [str(p.relative_to(ROOT)) for p in files if "__pycache__" not in p.parts]
    return {re.sub("^(kernels|examples)/", r"fedmpi/\1/", name) for name in names}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Return a copy of the packaged files, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("fedmpi", "kernels", "examples", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md", "MANIFEST.in"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def built(checkout, tmp_path_factory):
    """Return the folder of the sdist, and of the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), cwd=checkout)
    return out


@pytest.fixture(scope="module")
def wheel(built):
    """Return the built wheel."""
    return next(built.glob("*.whl"))


@pytest.fixture
def python(tmp_path):
    """Return the Python of a new environment; `borrow` lets it see the libraries of this one."""
    venv.create(tmp_path / "venv", symlinks=True)
    return tmp_path / "venv/bin/python"


def borrow(python):
    """Let a new environment see the libraries of this one (but not its editable installs)."""
    (site,) = python.parent.parent.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")


def install(python, *words, cwd):
    """Install into a new environment with the pip of this one."""
    pip = ["-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    run(sys.executable, *pip, *words, cwd=cwd)


def test_the_package_list_is_the_folders():
    listed = SETUP["options"]["packages"].split()
    folders = {str(Path(name).parent) for name in shipped() if name.endswith(".py")}
    assert set(listed) == {folder.replace("/", ".") for folder in folders}
    missing = [folder for folder in folders if f"{folder}/__init__.py" not in shipped()]
    assert not missing, "folders without __init__.py"


def test_the_wheel_holds_every_file_and_nothing_else(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert inside == shipped()


def test_the_sdist_holds_every_test(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        inside = {name.partition("/")[2] for name in sdist.getnames()}
    files = {path for path in (ROOT / "tests").glob("**/*") if path.is_file()}
    wanted = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert "tests/mpi/test_rounds.py" in wanted and not wanted - inside


def test_the_wheel_works_away_from_the_checkout(wheel, python, tmp_path):
    install(python, str(wheel), cwd=tmp_path)
    borrow(python)
    assert str(python.parent.parent) in run(python, "-c", KERNEL, cwd=tmp_path)
    assert "fedavg" in run(python.with_name("fedmpi"), "list", "algorithms", cwd=tmp_path)
    with pytest.raises(AssertionError, match="No module named 'kernels'"):
        run(python, "-c", "import kernels", cwd=tmp_path)


def test_an_editable_install_finds_the_kernels(checkout, python, tmp_path):
    borrow(python)
    install(python, "--no-build-isolation", "-e", str(checkout), cwd=tmp_path)
    assert run(python, "-c", KERNEL, cwd=tmp_path).strip() == f"{checkout}/kernels/sums.py"


def test_a_bare_checkout_finds_the_kernels(checkout, python, tmp_path):
    borrow(python)
    from_path = run(python, "-c", KERNEL, cwd=tmp_path, PYTHONPATH=str(checkout))
    assert run(python, "-c", KERNEL, cwd=checkout) == from_path
    assert from_path.strip() == f"{checkout}/kernels/sums.py"
    with pytest.raises(AssertionError, match=r"import fedmpi\.kernels instead"):
        run(python, "-c", "import kernels", cwd=checkout)


def test_every_requirement_is_pinned():
    lines = [line for line in (ROOT / "constraints.txt").read_text().split("\n") if line]
    pins = [re.fullmatch(r"([a-z0-9-]+)==[0-9.a-z]+", line) for line in lines if line[0] != "#"]
    assert all(pins), "a line that is not name==version"
    extras = SETUP["options.extras_require"].values()
    wanted = " \n".join([SETUP["options"]["install_requires"], *extras])
    names = re.findall(r"^([a-z0-9-]+) >=", wanted, re.MULTILINE)
    assert set(names) <= {pin[1] for pin in pins}
    assert len(names) == len(wanted.split("\n")) - wanted.count("\n\n") - 1


def test_the_version_stands_everywhere_the_same():
    assert f"\nversion: {fedmpi.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {fedmpi.__version__}" in (ROOT / "CHANGELOG.md").read_text()
