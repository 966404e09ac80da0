"""Runs to be killed: they start in the background, and all of their processes are known."""

import os
import subprocess
import sys
import time
from contextlib import suppress

import psutil

from fedmpi.comm.base import Serial
from fedmpi.experiment import resolve
from fedmpi.experiment.earlier import Earlier
from fedmpi.experiment.execute import Start, execute
from fedmpi.experiment.stop import NoSignals
from fedmpi.record import reader
from tests.conftest import ROOT, SOON, mpiexec

CONFIG = """
[run]
rounds = {rounds}
seed = 3
eval_every = 20
checkpoint_every = 3
checkpoint_share = 1.0
[data]
partition = "dirichlet"
alpha = 0.3
[clients]
number = 12
per_round = 6
batch_size = 16
local_steps = 2
[model]
name = "mlp"
hidden = [16]
[algorithm]
name = "tests.faults.own:{algorithm}"
"""


def write_config(folder, rounds=60, algorithm="Plain"):
    """Write the configuration of a small run and return its path."""
    path = folder / "exp.toml"
    path.write_text(CONFIG.format(rounds=rounds, algorithm=algorithm))
    return path


def run_here(out, algorithm="Plain", overrides=(), rounds=60, **how):
    """Run the experiment, or with resume=True go on with it, alone and in this process."""
    if how.get("resume"):
        with reader.open(out) as old:
            begun = Earlier(old.toml, old.config)
        resolved = begun.resolved(str(out), overrides, allow_code=True)
    else:
        text = CONFIG.format(rounds=rounds, algorithm=algorithm)
        resolved = resolve.resolve(text, "exp.toml", overrides)
    execute(resolved, Serial(), Start(out=out, **how), lambda row, rounds: None, NoSignals())


class Job:
    """`fedmpi words` on one or more ranks, or another `program` in its place, in a folder."""

    def __init__(self, folder, *words, ranks=1, program=("-m", "fedmpi")):
        command = [*(mpiexec(ranks) if ranks > 1 else []), sys.executable, *program, *words]
        self.log = folder / "log"
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=folder, env=env, start_new_session=True,
            )
        self.ranks_wanted = ranks
        self._known = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        """End all processes that are left, so that a failed test leaves none behind."""
        for process in self.alive():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def alive(self):
        """Return all processes of this job that still run, as psutil knows them."""
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            self._known |= {p.pid: p for p in [root, *root.children(recursive=True)]}
        self.process.poll()
        return [p for p in self._known.values() if running(p)]

    def ranks(self):
        """Return the processes that are ranks, in no order."""
        alive = self.alive()
        if self.ranks_wanted == 1:
            return alive[:1]
        return [p for p in alive if arguments(p)[:1] == [sys.executable]]

    def wait_for(self, done, seconds=2 * SOON):
        """Wait until done() is true or the job has ended; return whether it was true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if done():
                return True
            if not self.alive():
                return bool(done())
            time.sleep(0.01)
        raise AssertionError(f"waited {seconds} s in vain\n{self.text()}")

    def seconds_to_end(self, most):
        """Wait until no process of the job runs; return how long that took, at most `most`."""
        began = time.monotonic()
        while left := self.alive():
            if time.monotonic() > began + most:
                raise AssertionError(f"after {most} s there still run {left}\n{self.text()}")
            time.sleep(0.01)
        return time.monotonic() - began

    def end(self, seconds=2 * SOON):
        """Wait for the end and return the exit code."""
        code = self.process.wait(seconds)
        self.seconds_to_end(SOON)
        return code

    def text(self):
        """Return the text that the job has written to its standard output and error."""
        return self.log.read_text(errors="replace")


def running(process):
    """Return whether a process runs: a zombie that nobody has waited for does not."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def arguments(process):
    """Return the words that a process was started with, [] if it is gone."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()
    return []


def rounds_of(out):
    """Return how many rounds a result file holds, 0 if it is not there yet."""
    if not out.exists():
        return 0
    with reader.open(out) as run:
        return len(run.rounds)
