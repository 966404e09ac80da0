"""One run writes a result file: who is alive keeps it, who is dead does not."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from shlex import quote

import pytest

from fedmpi.errors import ResultError
from fedmpi.record import heartbeat, lock
from fedmpi.record.heartbeat import last_heartbeat
from fedmpi.record.lock import check_free, locked
from tests.conftest import ROOT, SOON

HERE = socket.gethostname()
HOLDER = """
import os, signal, sys
from fedmpi.record.lock import locked
with locked(sys.argv[1]):
    if sys.argv[2:]:
        if not (child := os.fork()):
            os.setsid()
            signal.pause()
        print(child)
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def out(tmp_path, monkeypatch):
    """Return the path of a result file, in a test that waits for nobody for long."""
    monkeypatch.setattr(lock, "BRIEF", 0.1)
    return tmp_path / "out.h5"


@pytest.fixture
def holder(out):
    """Return a process that holds the file."""
    process = holding(out)
    yield process
    process.kill()
    process.communicate()


def holding(out, *words):
    """Start a process that holds the file `out`, and wait until it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, out, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True)
    process.first = int(process.stdout.readline())
    return process


def refusal(out, **how):
    """Return why the file cannot be had."""
    with pytest.raises(ResultError) as caught, locked(out, **how):
        raise AssertionError("it was had")
    return str(caught.value)


def test_a_run_that_is_alive_keeps_its_file_and_is_named(out, holder):
    text = refusal(out)
    assert f"{out}: process {holder.pid} on {HERE} is writing it (last sign of life " in text
    assert f"end it first: kill {holder.pid}" in text
    os.utime(f"{out}.alive", (0, 0))
    assert f"no longer a fedmpi process, remove {quote(f'{out}.alive')}" in refusal(out)
    assert last_heartbeat(out).alive and last_heartbeat(out).process == holder.pid
    holder.send_signal(signal.SIGSTOP)
    assert f"and is stopped; kill -CONT {holder.pid} lets it go on" in refusal(out)
    with pytest.raises(ResultError, match="is stopped"):
        check_free(out)


def test_a_dead_run_keeps_nobody_out(out, holder):
    os.kill(holder.pid, signal.SIGSTOP)
    holder.kill()
    holder.wait()
    assert os.path.exists(f"{out}.alive") and not last_heartbeat(out).alive
    check_free(out)
    with locked(out):
        assert last_heartbeat(out).process == os.getpid()
    assert os.listdir(out.parent) == []


def test_a_child_that_outlives_its_run_keeps_nobody_out(out):
    process = holding(out, "fork")
    child = process.first
    try:
        process.kill()
        process.wait()
        with locked(out):
            assert last_heartbeat(out).process == os.getpid()
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()


def test_a_link_is_the_file_itself(out, holder):
    other = out.with_name("link.h5")
    out.write_text("")
    other.symlink_to(out)
    assert f"process {holder.pid}" in refusal(other)


def test_a_number_that_another_process_has_now_keeps_nobody_out(out, monkeypatch):
    path = without_lock(out)
    os.utime(path, (1, 1))
    began = time.monotonic()
    with locked(out):
        assert time.monotonic() - began < heartbeat.FRESH
    monkeypatch.setattr(heartbeat, "FRESH", 0.5)
    without_lock(out)
    with locked(out):  # it gave no sign while it was waited for
        pass


def without_lock(out):
    """Write a sign of another process of this host, which has no lock; return its path."""
    path = out.parent / "out.h5.alive"
    path.write_text(f"{HERE} {os.getppid()}\n")
    return path


def test_a_beating_run_of_an_older_fedmpi_without_locks_is_alive(out):
    path = without_lock(out)
    with pytest.raises(ResultError, match="is writing it"):
        check_free(out)
    timer = threading.Timer(0.3, os.utime, [path])
    timer.start()
    assert f"process {os.getppid()} on {HERE} is writing it" in refusal(out)
    timer.join()
    os.utime(path, (1, 1))
    check_free(out)


def test_a_process_that_has_ended_is_gone_before_its_parent_knows(out):
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    (out.parent / "out.h5.alive").write_text(f"{HERE} {process.pid}\n")
    assert os.path.exists(f"/proc/{process.pid}") and not last_heartbeat(out).alive
    process.wait()


def elsewhere(out, monkeypatch, **limits):
    """Write a sign of a process on another host."""
    for name, value in limits.items():
        monkeypatch.setattr(lock if hasattr(lock, name) else heartbeat, name, value)
    path = out.parent / "out.h5.alive"
    path.write_text("elsewhere 7\n")
    os.utime(path, (1, 1))
    return path


def test_a_silent_run_on_a_host_with_locks_of_its_own_counts_as_dead(out, monkeypatch):
    elsewhere(out, monkeypatch, FRESH=0.5, QUIET=0.0)
    said, began = [], time.monotonic()
    with locked(out, said.append):
        assert time.monotonic() - began >= 0.5
    assert said == [f"{out}: waits up to 0 s to see whether process 7 on elsewhere still writes it"]


def test_a_beating_run_on_a_host_with_locks_of_its_own_is_alive(out, monkeypatch):
    path = elsewhere(out, monkeypatch, FRESH=SOON)
    timer = threading.Timer(0.3, os.utime, [path])
    timer.start()
    assert "process 7 on elsewhere is writing it" in (text := refusal(out))
    assert "end it first: on elsewhere, kill 7" in text
    timer.join()


def test_a_lock_from_another_host_is_waited_for_as_its_node_may_be_gone(out, monkeypatch):
    path = elsewhere(out, monkeypatch, LEASE=SOON)
    file = os.open(path, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    timer = threading.Timer(0.3, os.close, [file])
    timer.start()
    monkeypatch.setattr(heartbeat, "FRESH", 0.1)
    with locked(out):
        assert last_heartbeat(out).process == os.getpid()
    timer.join()
    monkeypatch.setattr(lock, "LEASE", 0.2)
    path = elsewhere(out, monkeypatch)
    with open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "process 7 on elsewhere" in refusal(out)


def test_where_there_are_no_locks_processes_and_signs_decide(out, monkeypatch):
    def unknown(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    path = out.parent / "out.h5.alive"
    path.write_text(f"{HERE} {os.getppid()}\n")
    assert f"process {os.getppid()} on {HERE}" in refusal(out)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.write_text(f"{HERE} {gone.pid}\n")
    with locked(out):
        assert last_heartbeat(out).alive
    elsewhere(out, monkeypatch, FRESH=0.2)
    with locked(out):
        assert last_heartbeat(out).host == HERE


def test_the_file_of_another_run_is_left_to_it(out):
    """A user who removed OUT.alive let another run in: the first must not remove the second's."""
    with locked(out):
        os.unlink(f"{out}.alive")
        with locked(out):
            first = os.stat(f"{out}.alive").st_ino
            with pytest.raises(ResultError), locked(out):
                pass
            assert os.stat(f"{out}.alive").st_ino == first
    assert os.listdir(out.parent) == []


def test_a_folder_without_rights_is_named(out, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    assert "out.h5.alive: cannot be written (Permission denied)" in refusal(out)
