"""Ranks that a command starts itself, with launchers that only record their command lines."""

import os
import signal
import sys
import threading
import time

import pytest

from fedmpi.cli import facts, launchers, sweeps
from fedmpi.doctor import WRONG, cores, mpi_library
from fedmpi.experiment.stop import NoSignals, Stop

OPEN_MPI, MPICH = "mpiexec (Open MPI) 5.0.7", "HYDRA build details:"

# As Open MPI's: SIGUSR1 goes to the ranks, which save and end by 75; other signals kill them.
ENDING = """
import os, signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75) if READY else None)
signal.signal(signal.SIGTERM, lambda *_: (open(OUT, "a").write(", killed"), sys.exit(1)))
open(OUT, "w").write("apart" if os.getpgrp() == os.getpid() else "together")
time.sleep(60)
"""


def made(path, version):
    """Write a launcher that tells its version and runs nothing; return its path."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(0o755)
    return str(path)


def test_a_launcher_of_another_name_is_found_and_named(tmp_path, monkeypatch):
    first = made(tmp_path / "a/mpiexec", OPEN_MPI)
    (tmp_path / "a/mpiexec.openmpi").symlink_to("mpiexec")
    other = made(tmp_path / "b/mpiexec.mpich", MPICH)
    monkeypatch.setenv("PATH", f"{tmp_path}/a:{tmp_path}/b")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    found = facts.launchers()
    assert found == [(first, OPEN_MPI + "\n"), (other, MPICH + "\n")]
    told = mpi_library.launcher({}, "MPICH Version: 5.0.2", found)
    assert (told.level, told.remedy) == (WRONG, f"{other} -n N fedmpi ...")


@pytest.mark.parametrize(("version", "more"), [
    (OPEN_MPI, ["--map-by", ":oversubscribe"]), (MPICH, []),
])
def test_more_ranks_than_cores_are_asked_for_as_the_launcher_wants(
    version, more, tmp_path, monkeypatch
):
    path = made(tmp_path / "mpiexec", version)
    monkeypatch.setattr(launchers, "mpiexec", lambda: path)
    here = len(os.sched_getaffinity(0))
    assert launchers.words_for(here) == [path, "-n", str(here)]  # which stay bound to cores
    assert launchers.words_for(here + 1) == [path, *more, "-n", str(here + 1)]


@pytest.fixture
def interrupted(tmp_path):
    """Return a path: once the launcher has written it, this process gets SIGINT, as by Ctrl-C."""
    path, over = tmp_path / "said", threading.Event()

    def interrupt():
        while not said(path):
            if over.wait(0.01):  # the launcher has not come so far
                return
        time.sleep(0.3)  # the earlier request has been passed on
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    yield path
    over.set()
    thread.join()


def said(path):
    """Return the text that a launcher has written, "" before it handles signals."""
    return path.read_text() if path.exists() else ""


def started(path, ready):
    """Return the words of a launcher like Open MPI's; its ranks are `ready` to save or not."""
    text = ENDING.replace("OUT", repr(str(path))).replace("READY", str(ready))
    return [sys.executable, "-c", text]


def test_an_interrupted_sweep_lets_the_ranks_of_open_mpi_save(interrupted):
    with Stop() as stop:
        code = sweeps._wait(started(interrupted, ready=True), stop, apart=True)
    assert (code, stop.asked) == (sweeps.STOPPED_EARLY, "SIGINT")
    assert interrupted.read_text() == "apart"


def test_a_second_interrupt_does_not_wait_for_them(interrupted):
    class Asked(NoSignals):
        asked = property(lambda self: said(interrupted) and "SIGINT")

    with pytest.raises(KeyboardInterrupt):
        sweeps._wait(started(interrupted, ready=False), Asked(), apart=True)
    assert interrupted.read_text() == "apart, killed"


@pytest.mark.parametrize(("environ", "machine", "remedy"), [
    ({"OMPI_COMM_WORLD_SIZE": "2"}, 8, "mpiexec --bind-to none -n 2 fedmpi ..."),
    ({"OMPI_COMM_WORLD_SIZE": "2"}, 4, "export OMP_NUM_THREADS=1"),  # no core is left
    ({"PMI_SIZE": "2"}, 8, "export OMP_NUM_THREADS=1"),  # bound by another launcher, on purpose
])
def test_threads_that_open_mpi_bound_to_one_core_are_let_free(environ, machine, remedy):
    told = cores.threads_fit(environ | {"OMP_NUM_THREADS": "4"}, 2, 2, machine=machine)
    assert (told.level, told.remedy) == (WRONG, remedy)
