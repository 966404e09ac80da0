"""The notebooks run from the first cell to the last, in a kernel of this Python."""

import pytest

from tests.conftest import ROOT

EXECUTE = """
import sys
import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

for path in sys.argv[1:]:
    kernel = KernelManager()
    kernel.kernel_spec.argv[0] = sys.executable
    NotebookClient(nbformat.read(path, 4), timeout=250, km=kernel).execute()
"""


def test_the_notebooks_run(run_python, tmp_path):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    paths = sorted(ROOT.glob("docs/notebooks/*.ipynb"))
    done = run_python("-c", EXECUTE, *paths, timeout=290, IPYTHONDIR=str(tmp_path / "ipython"))
    assert done.returncode == 0, done.stderr
    assert len(paths) == 2 and len(list(tmp_path.glob("*.h5"))) == 6
    assert (tmp_path / "accuracy.pdf").is_file()
