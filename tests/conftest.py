"""Fixtures for all tests: real data, seeded numbers, and fedmpi as a user starts it."""

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from fedmpi import cli
from fedmpi.cli.kernel_cache import keep_kernels_on_node
from fedmpi.experiment.stop import ASKING
from tests.starts import Starts

ROOT = Path(__file__).resolve().parent.parent
# Seconds, from the event that ends it, in which a run must be over: a few on a quiet machine. It
# is a limit against waiting for ever, so a busy machine may not reach it.
SOON = 120

# Tests that a shell starts in the background ignore SIGINT, and so would the commands under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The same holds for SIGHUP under nohup.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# All processes share the compiled kernels, those of the commands that tests start as well.
keep_kernels_on_node(os.environ)
COMPILED = {"NUMBA_CACHE_DIR": os.environ["NUMBA_CACHE_DIR"]}  # for scripts that train on their own

FRESH = (("doctor",),)  # verbs that look at the process
AT_IMPORT = ("CUDA", "MKL", "NUMBA", "OMP", "OPENBLAS", "PYTHON")  # read while modules are loaded
HEEDED = {"PYTHONIOENCODING"}  # but by tests.starts too
OWN = ("FEDMPI_RANKS", "NUMBA_CACHE_DIR")  # variables that commands under test do not get

# Functions that will be killed are forked from a process that has their modules loaded.
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.faults.test_kills", "tests.record.killed"])

# Files that take longest: begun first, or a process that gets one last would work alone.
LONGEST = (
    "bench/test_verbs", "faults/test_kills", "experiment/test_estimate", "cli/test_use",
    "cli/test_run", "experiment/test_memory_of_a_run", "cli/test_resume",
    "faults/test_machine", "test_manual_blocks", "learn/test_mechanisms", "fuzz/test_fuzz",
    "algorithms/test_orderings", "learn/test_memory", "twins/test_twins", "test_packaging",
    "learn/data/test_datasets", "faults/test_leftovers", "test_notebooks", "cli/test_doctor",
)  # fmt: skip


def pytest_configure(config):
    """Let hypothesis draw the same examples on every machine, however slow it is.

    MPI tests do without: it would take each rank half a second to load.
    """
    if "FEDMPI_RANKS" in os.environ:
        return
    from hypothesis import settings

    settings.register_profile("fedmpi", derandomize=True, deadline=None)
    settings.load_profile("fedmpi")


def pytest_collection_modifyitems(config, items):
    """Leave slow cases to `make soak`, and put the files that take longest before the others."""
    if not os.environ.get("FEDMPI_SOAK"):
        slow = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]
    places = {ROOT / f"tests/{name}.py": place for place, name in enumerate(LONGEST)}
    assert all(path.exists() for path in places), "LONGEST names a file that is gone"
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture
def rng(request):
    """Return a numpy Generator seeded by the test's own name."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(autouse=True)
def same_signals():
    """Fail a test after which this process handles signals in another way.

    A child inherits a signal that is ignored, so later tests of jobs would wait for ever.
    """
    before = handlers()
    yield
    changed = [number.name for number, handler in handlers().items() if handler != before[number]]
    restore(before)
    assert not changed, f"this test left other handlers of {', '.join(changed)}"


@pytest.fixture
def main():
    """Return main(words): the command in this process, at whose end it ignores signals."""
    before = handlers()
    yield cli.main
    restore(before)


def handlers():
    """Return the handler of each signal that asks a run to stop."""
    return {number: signal.getsignal(number) for number in ASKING}


def restore(before):
    """Put the handlers back that `handlers` returned."""
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def data_root():
    """Return the folder of the real data sets, FEDMPI_DATA; skip without it, but fail in CI."""
    root = os.environ.get("FEDMPI_DATA")
    if root and Path(root).is_dir():
        return Path(root)
    reason = f"FEDMPI_DATA={root}: no such folder" if root else "FEDMPI_DATA is not set"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; CI must test on the real data sets")
    pytest.skip(f"{reason}; it names the folder with the real data sets")


def errors_of(text):
    """Return the lines of a standard error that are errors of fedmpi.

    Others show the stages of a start, or are of Open MPI's launcher: what stands between two lines
    of dashes, and errors of PMIx as it ends the ranks.
    """
    ours = re.sub(r"(?ms)^-{70,}\n.*?^-{70,}\n", "", text)
    return [line for line in ours.splitlines()
            if not line.startswith("# ") and "PMIX ERROR" not in line]


def run_group(command, timeout, **options):
    """Run `command`; past `timeout` seconds end it with all that it started, and fail."""
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"{process.args} still ran after {timeout} s\n{out}\n{err}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def namespaces():
    """Return whether this machine lets us make network namespaces."""
    words = "ip", "netns", "add", f"fmtry{os.getpid()}"
    if shutil.which("ip") is None or subprocess.run(words, capture_output=True).returncode:
        return False
    return subprocess.run(["ip", "netns", "del", words[-1]]).returncode == 0


def mpiexec(ranks):
    """Return the words that start `ranks` ranks with the launcher of this environment."""
    beside = Path(sys.executable).with_name("mpiexec")
    launcher = beside if beside.exists() else shutil.which("mpiexec")
    if launcher is None:
        pytest.fail("no mpiexec: install fedmpi[mpich], or put that of your MPI on PATH")
    return [launcher, "-n", ranks]


@pytest.fixture(scope="session")
def starts():
    """Return the process from which commands are forked."""
    found = Starts()
    yield found
    found.end()


def environ_of(env):
    """Return the environment of a command under test, to which `env` adds."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    inherited = {k: v for k, v in os.environ.items() if k not in OWN}
    return inherited | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path} | env


@pytest.fixture
def run_python(tmp_path):
    """Return run(*words, ranks=None, timeout=240, cwd=tmp_path, **env): python words, on ranks."""

    def run(*words, ranks=None, timeout=240, cwd=tmp_path, **env):
        command = [*(mpiexec(ranks) if ranks else []), sys.executable, *words]
        return run_group(command, timeout, cwd=cwd, env=environ_of(env))

    return run


@pytest.fixture
def run_fedmpi(run_python, starts, tmp_path):
    """Return run(*words, ranks=None, timeout=240, **env): `fedmpi words`, alone or on N ranks.

    Gives a CompletedProcess with returncode, stdout and stderr; the command is not
    expected to succeed. It runs in the test's own empty folder unless `cwd` is given.
    It is forked from a process that has the modules loaded, but for verbs that look at the
    process, and variables that are read while modules are loaded.
    """

    def run(*words, ranks=None, timeout=240, cwd=tmp_path, **env):
        at_import = {name for name in env if name.startswith(AT_IMPORT)} - HEEDED
        fresh = words[:1] in FRESH or at_import
        program = ["-m", "fedmpi"] if fresh else starts.words()
        return run_python(*program, *words, ranks=ranks, timeout=timeout, cwd=cwd, **env)

    return run
