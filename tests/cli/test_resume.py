"""A run that was stopped or killed ends as one that was not."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time

import psutil
import pytest

from fedmpi.analysis.quantities import in_bytes
from fedmpi.experiment.stop import Stop
from fedmpi.record import checkpoint, reader
from tests.cli.test_run import config, contents, equal  # noqa: F401
from tests.conftest import ROOT, SOON, mpiexec


def start(config_file, out, ranks, *words):
    """Start a run in the background, in a process group of its own."""
    command = [sys.executable, "-m", "fedmpi", "run", config_file, "-o", out, *words]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [str(word) for word in [*(mpiexec(ranks) if ranks > 1 else []), *command]]
    return subprocess.Popen(words, env=env, start_new_session=True, cwd=out.parent,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_rounds(out, number):
    """Wait until the result file holds `number` rounds."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        if out.exists():
            with reader.open(out) as run:
                if len(run.rounds) >= number:
                    return
        time.sleep(0.02)
    raise AssertionError(f"{out} did not reach {number} rounds")


LONG = ["--set", "run.rounds=300", "--set", "run.checkpoint_every=5", "--set", "run.eval_every=50"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
def test_a_signal_stops_early_and_keeps_all(run_fedmpi, config, tmp_path, name):  # noqa: F811
    out = tmp_path / "a.h5"
    process = start(config, out, 1, *LONG)
    wait_for_rounds(out, 3)
    process.send_signal(getattr(signal, name))
    text, _ = process.communicate(timeout=SOON)
    assert process.returncode == 75, text
    assert f"fedmpi resume {out}" in text
    with reader.open(out) as run:
        reached = len(run.rounds)
        assert run.status == "stopped"
        assert checkpoint.read(checkpoint.path_of(out)).facts["next_round"] == reached
    again = run_fedmpi("resume", out, "--set", f"run.rounds={reached + 5}", ranks=2)
    assert again.returncode == 0, again.stderr
    with reader.open(out) as run:
        sent = sum(int(run.rounds[name].sum()) for name in ("bytes_up", "bytes_down"))
    assert f"sent {in_bytes(sent)}" in again.stdout.splitlines()[-2]
    whole = tmp_path / "whole.h5"
    run_fedmpi("run", config, "-o", whole, *LONG, "--set", f"run.rounds={reached + 5}")
    equal(contents(out), contents(whole))


def test_a_terminal_that_closes_stops_early_and_keeps_all(config, tmp_path):  # noqa: F811
    """SIGHUP ended the run at once: the rounds since the last checkpoint were lost."""
    out = tmp_path / "a.h5"
    ours, its = os.openpty()
    words = [sys.executable, "-m", "fedmpi", "run", config, "-o", out, "--progress", "lines", *LONG]
    process = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path,
                               stdin=its, stdout=its, stderr=its, start_new_session=True,
                               preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(its)
    wait_for_rounds(out, 3)
    os.close(ours)
    assert process.wait(timeout=SOON) == 75
    with reader.open(out) as run:
        assert run.status == "stopped" and "SIGHUP" in run.events[-1]["text"]


def test_nohup_still_ignores_the_end_of_a_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_all_ranks_killed_and_resumed_on_another_number(run_fedmpi, config, tmp_path):  # noqa: F811
    out, whole = tmp_path / "a.h5", tmp_path / "whole.h5"
    process = start(config, out, 3, *LONG)
    wait_for_rounds(out, 7)
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.communicate(timeout=SOON)
    with reader.open(out) as run:
        reached = len(run.rounds)
    end = f"run.rounds={reached + 6}"
    assert run_fedmpi("resume", out, "--set", end, ranks=2).returncode == 0
    run_fedmpi("run", config, "-o", whole, *LONG, "--set", end)
    equal(contents(out), contents(whole))


def test_a_finished_run_can_be_extended(run_fedmpi, config, tmp_path):  # noqa: F811
    out, whole = tmp_path / "a.h5", tmp_path / "whole.h5"
    run_fedmpi("run", config, "-o", out)
    assert run_fedmpi("resume", out, "--set", "run.rounds=6").returncode == 0
    run_fedmpi("run", config, "-o", whole, "--set", "run.rounds=6")
    equal(contents(out), contents(whole))
    with reader.open(out) as run:
        assert run.config["run"]["rounds"] == 6
        assert [e["kind"] for e in run.events] == ["resume", "config"]


def test_what_is_built_into_the_state_cannot_change(run_fedmpi, config, tmp_path):  # noqa: F811
    out = tmp_path / "a.h5"
    run_fedmpi("run", config, "-o", out)
    done = run_fedmpi("resume", out, "--set", "data.alpha=2.0")
    assert done.returncode == 2 and "data.alpha" in done.stderr and "run.rounds" in done.stderr


@pytest.mark.parametrize("damage", ["cut", "flip", "foreign"])
def test_a_damaged_checkpoint_is_refused(run_fedmpi, config, tmp_path, damage):  # noqa: F811
    out = tmp_path / "a.h5"
    run_fedmpi("run", config, "-o", out)
    path = checkpoint.path_of(out)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[-100:]
    elif damage == "flip":
        data[len(data) // 2] ^= 1
    else:
        data = b"not a checkpoint"
    path.write_bytes(data)
    done = run_fedmpi("resume", out, "--set", "run.rounds=6")
    assert done.returncode == 1
    assert str(path) in done.stderr and "start the run again" in done.stderr
