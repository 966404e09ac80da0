"""Allowed imports: the table of floors in docs/developing.md is the architecture."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    str(path.relative_to(ROOT))
    for folder in ("fedmpi", "kernels")
    for path in ROOT.glob(f"{folder}/**/*.py")
)

# A part sees itself and the floors below it; neighbours on a floor do not know each other.
MANUAL = (ROOT / "docs" / "developing.md").read_text()
FLOORS = [row.split() for row in re.findall(r"^ *\d+  (.+)$", MANUAL, re.MULTILINE)][::-1]
LEVEL = {part: level for level, floor in enumerate(FLOORS) for part in floor}
# A library comes in by one door only.
DOORS = {"numba": "kernels", "torch": "learn", "mpi4py": "comm", "h5py": "record",
         "dp_accounting": "privacy", "zstandard": "stages"}
# HDF5 files that others publish are read where data are read.
READERS = {("h5py", "fedmpi/learn/data/femnist.py")}
# Results must be readable on a laptop with neither MPI nor torch.
ANALYSIS_SEES = {"record", "errors", "layout", "sparsity", "arrays", "toml_text",
                 "analysis"}


def part_of(path):
    """Return the part a file belongs to: comm for fedmpi/comm/mpi.py, cli for fedmpi/cli.py."""
    names = Path(path).with_suffix("").parts
    return names[0] if names[0] == "kernels" else names[1]


def imports(source, package):
    """Return the full names that `source`, a file of `package`, imports, in functions too."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            place = [*(above if node.level else []), *filter(None, [node.module])]
            names += [".".join([*place, alias.name]) for alias in node.names]
    return names


def faults(path, source):
    """Return the faults of the imports of one file."""
    here = part_of(path)
    package = ".".join(("fedmpi." * (here == "kernels") + path).split("/")[:-1])
    found = []
    for name in imports(source, package):
        top, _, rest = name.partition(".")
        there = rest.partition(".")[0]
        if DOORS.get(top, here) != here and (top, path) not in READERS:
            found.append(f"{path}: {top} comes in by {DOORS[top]} only")
        elif top == "kernels":
            found.append(f"{path}: the name of kernels is fedmpi.kernels")
        elif top != "fedmpi" or there in ("", "__version__", here):
            continue
        elif LEVEL.get(there, len(FLOORS)) >= LEVEL.get(here, -1):
            found.append(f"{path}: {there} is not below {here}")
        elif here == "analysis" and there not in ANALYSIS_SEES:
            found.append(f"{path}: analysis must not need {there}")
    return found


@pytest.mark.parametrize("path", FILES)
def test_imports_go_down(path):
    assert not faults(path, (ROOT / path).read_text())


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("fedmpi/algorithms/fedlp.py", "def f():\n    import h5py", "h5py comes in by record"),
        ("fedmpi/learn/data/idx.py", "from ..a import x\nfrom ...round import y", "round is not"),
        ("fedmpi/comm/mpi.py", "from fedmpi import record", "record is not below comm"),
        ("fedmpi/round/loop.py", "from kernels import sums", "the name of kernels"),
        ("kernels/sums.py", "import fedmpi.layout", "layout is not below kernels"),
        ("fedmpi/analysis/curves.py", "from fedmpi.config import Config", "must not need config"),
        ("fedmpi/utils.py", "from fedmpi.layout import Layout", "layout is not below utils"),
    ],
)
def test_a_wrong_import_is_found(path, source, fault):
    (found,) = faults(path, source)
    assert fault in found


@pytest.mark.parametrize("part", ["config", "record", "analysis", "algorithms", "cli"])
def test_what_only_reads_loads_neither_mpi_nor_torch_nor_the_compiler(part, run_python):
    loaded = f"import sys, fedmpi.{part}; print(*{{'torch', 'mpi4py', 'numba'}} & set(sys.modules))"
    done = run_python("-c", loaded)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


def test_no_two_parts_have_a_module_or_a_class_of_the_same_name():
    """A reader who searches for a name finds its one place; folders of a part count as modules."""
    parts = defaultdict(set)
    for path in FILES:
        file, part = ROOT / path, part_of(path)
        parts["module", file.parent.name if file.stem == "__init__" else file.stem].add(part)
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                parts["class", node.name].add(part)
    assert {name: found for name, found in parts.items() if len(found) > 1} == {}
