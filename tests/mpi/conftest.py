"""Tests on several ranks:  FEDMPI_RANKS=3 mpiexec -n 3 python -m pytest tests/mpi

Without FEDMPI_RANKS nothing here is collected. With it, the session fails when the
number of ranks is another, or when not every test ran on every rank. Rank 0 reports;
a test that fails on any rank is shown, and ends all ranks, since those that wait in a
collective for the one that failed would wait for ever.
"""

import faulthandler
import io
import os
import shutil
import tempfile
import threading
import time
from itertools import chain
from pathlib import Path

import pytest

RANKS = os.environ.get("FEDMPI_RANKS")
ALONE = pytest.StashKey()  # {test function: {name of a case: what one process gave}}
SECONDS = 120  # a test without a timeout of its own hangs if it takes longer

if RANKS is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Give each rank its own folder: ranks that tidy a shared folder disturb each other."""
    if RANKS is not None:
        config.option.basetemp = tempfile.mkdtemp(prefix="fedmpi-rank-")


def pytest_unconfigure(config):
    """Take that folder away."""
    if RANKS is not None:
        shutil.rmtree(config.option.basetemp, ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    """Start MPI, but only where it was asked for: a plain run must stay free of it."""
    if RANKS is not None:
        config.pluginmanager.register(Ranks(config), "ranks")


class Ranks:
    """What pytest does otherwise when it runs on several ranks at once."""

    def __init__(self, config):
        from mpi4py import MPI

        self.world = MPI.COMM_WORLD
        self.ran = []
        self.stderr = os.fdopen(os.dup(2), "w")  # pytest redirects the other during a test
        if self.world.size != int(RANKS):
            self.end_all(f"FEDMPI_RANKS={RANKS}, but there are {self.world.size} ranks")
        if self.world.rank:
            config.pluginmanager.unregister(name="terminalreporter")
            silent = pytest.TerminalReporter(config, io.StringIO())
            config.pluginmanager.register(silent, "terminalreporter")

    def end_all(self, text):
        """Show `text` and end every rank; rank 0 is ahead, so that one speaks for all."""
        time.sleep(2.0 if self.world.rank else 0.0)
        self.stderr.write(f"\n[rank {self.world.rank} of {self.world.size}] {text}\n")
        self.stderr.flush()
        time.sleep(0.5)  # MPICH's launcher drops what it has not yet read at an abort
        self.world.Abort(1)

    def pytest_collection_modifyitems(self, config, items):
        """Leave out the tests that need more ranks than there are."""
        enough = [all(m.args[0] <= self.world.size for m in i.iter_markers("ranks")) for i in items]
        few = [item for item, is_enough in zip(items, enough, strict=True) if not is_enough]
        config.hook.pytest_deselected(items=few)
        items[:] = [item for item in items if item not in few]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        """Show where a test hangs and end it; a signal would not reach Python inside MPI.

        A thread tells MPI, or MPICH's launcher might not see that this rank has left. The second
        limit is for a test that lets no other thread of Python run.
        """
        own = item.get_closest_marker("timeout")
        limit = own.args[0] if own else SECONDS
        faulthandler.dump_traceback_later(limit + 10, exit=True, file=self.stderr)
        watchdog = threading.Timer(limit, self.end_hanging)
        watchdog.daemon = True
        watchdog.start()
        try:
            return (yield)
        finally:
            watchdog.cancel()
            faulthandler.cancel_dump_traceback_later()

    def end_hanging(self):
        """Show where all threads of this rank are, and end all ranks."""
        faulthandler.dump_traceback(self.stderr)
        self.end_all("a test takes too long")

    def pytest_runtest_logreport(self, report):
        """Note what ran; end all ranks when a test fails on this one."""
        if report.failed:
            parts = [f"{report.nodeid} failed ({report.when})", report.longreprtext]
            parts += [f"--- {name}\n{text}" for name, text in report.sections]
            self.end_all("\n".join(parts))
        if report.when == "call" and report.passed:
            self.ran.append(report.nodeid)

    def pytest_collectreport(self, report):
        """End all ranks when a file cannot be imported on this one."""
        if report.failed:
            self.end_all(f"{report.nodeid} cannot be collected\n{report.longreprtext}")

    def pytest_internalerror(self, excrepr):
        """End all ranks when pytest itself fails on this one."""
        self.end_all(str(excrepr))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        """Fail unless every test that was collected ran, the same on every rank."""
        here = [sorted(self.ran), sorted(item.nodeid for item in session.items)]
        everywhere = list(chain(*self.world.allgather(here)))
        if not self.ran or any(names != everywhere[0] for names in everywhere):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            if self.world.rank == 0:
                missing = set().union(*everywhere) - set(everywhere[0]).intersection(*everywhere)
                self.stderr.write(f"\nnot run on every rank: {sorted(missing) or 'any test'}\n")
                self.stderr.flush()


@pytest.fixture(scope="session")
def world():
    """Return the communicator of all ranks (mpi4py)."""
    from mpi4py import MPI

    return MPI.COMM_WORLD


@pytest.fixture(scope="session")
def comm():
    """Return all ranks as fedmpi sees them."""
    from fedmpi.comm.mpi import Mpi

    return Mpi()


@pytest.fixture
def alone(request, world):
    """Return what `run` of the test's mark `alone` gives, called with its parameters.

    It is what these ranks are compared with, and simulated by one process. All cases of a test
    are dealt out over the ranks when the first is asked for, so none is simulated twice.
    """
    results, function = request.config.stash.setdefault(ALONE, {}), request.function
    if function not in results:
        cases = [item for item in request.session.items if item.function is function]
        run = request.node.get_closest_marker("alone").kwargs["run"]
        mine = {item.name: run(**params(item)) for item in cases[world.rank :: world.size]}
        results[function] = dict(chain(*(part.items() for part in world.allgather(mine))))
    return results[function][request.node.name]


def params(item):
    """Return the parameters {name: value} of a test."""
    return item.callspec.params if hasattr(item, "callspec") else {}


@pytest.fixture
def shared_path(world, tmp_path):
    """Return a folder that is empty at first and the same on every rank."""
    path = Path(world.bcast(str(tmp_path)))
    yield path
    world.Barrier()  # pytest removes the folder of a test that passed
