"""Whether "running" is true: signs of life beside a result file, and failures told to it."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from fedmpi.record import heartbeat
from fedmpi.record.heartbeat import LATE, Heartbeat, last_heartbeat, report_failure
from fedmpi.record.lock import locked
from tests.conftest import SOON

HERE = socket.gethostname()


def gone():
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("age", "host", "process", "alive"),
    [
        (1.0, "elsewhere", 1, True),
        (LATE - 1, "elsewhere", 1, True),
        (LATE + 1, "elsewhere", 1, False),
        (1.0, "", 0, False),
    ],
)
def test_a_run_is_alive_while_its_process_is(age, host, process, alive):
    assert Heartbeat(age, host, process).alive is alive


def test_a_process_that_is_there_is_alive_however_long_it_was_silent():
    assert Heartbeat(3600.0, HERE, os.getpid()).alive  # perhaps it was stopped


def test_a_process_that_is_gone_is_dead_before_others_would_be():
    assert not Heartbeat(LATE / 2, HERE, gone()).alive
    assert Heartbeat(3 * 3600, "n1", 7).text == "last sign of life 3 h ago from process 7 on n1"


@pytest.mark.parametrize("text", ["", "host", "host x", "a b c", "\0" * 5000])
def test_a_file_that_is_no_sign_is_none(tmp_path, text):
    (tmp_path / "out.h5").write_text("")
    (tmp_path / "out.h5.alive").write_text(text)
    assert not last_heartbeat(tmp_path / "out.h5").alive


def test_signs_are_given_while_the_run_goes_on_and_gone_after(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "PAUSE", 0.01)
    monkeypatch.setattr(heartbeat, "BEAT", 0.01)
    out = tmp_path / "out.h5"
    with locked(out):
        path = tmp_path / "out.h5.alive"
        os.utime(path, (0, 0))
        end = time.monotonic() + 30
        while path.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        found = last_heartbeat(out)
        assert found.alive and (found.host, found.process) == (HERE, os.getpid())
    assert list(tmp_path.iterdir()) == []


def test_a_rank_that_fails_is_written_down_before_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "PAUSE", 0.01)
    monkeypatch.setattr(heartbeat, "PATIENCE", 30)
    said = []
    with locked(tmp_path / "out.h5") as lock:
        lock.on_failure(said.append)
        report_failure(tmp_path / "out.h5", "rank 1: KeyError: 'x', caf\udce9")
        assert said == ["rank 1: KeyError: 'x', caf?"]


def test_nobody_waits_for_ever_where_nobody_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "PATIENCE", 0.1)
    thread = threading.Thread(target=report_failure, args=(tmp_path / "out.h5", "why"))
    thread.start()
    thread.join(SOON)
    assert not thread.is_alive() and list(tmp_path.iterdir()) == []
