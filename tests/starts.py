"""Starts `fedmpi` from a process in which its modules are loaded, which takes seconds.

`Starts` asks this file, run as a program, for one start after another. Each is a fork, made while
no thread, MPI or CUDA has begun, and has a session of its own.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np

LOADED = ("fedmpi.cli", "fedmpi.experiment.execute", "fedmpi.learn.engines", "fedmpi.record.writer")


class Starts:
    """The process from which commands are forked, which is started with the first of them."""

    def __init__(self):
        self._process = None

    def run(self, words, timeout, cwd, env):
        """Return the CompletedProcess of `fedmpi words`; its returncode is None past timeout."""
        self._process = self._process or subprocess.Popen(
            [sys.executable, "-m", "tests.starts"], cwd=Path(__file__).parents[1], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            asked = {"words": words, "cwd": str(cwd), "env": env, "out": str(out), "err": str(err)}
            try:
                code = self._ask(json.dumps(asked), timeout)
            except BaseException:  # what is answered now would be taken for the next answer
                self.end()
                raise
            return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())

    def _ask(self, line, timeout):
        print(line, file=self._process.stdin, flush=True)
        child, late = int(self._process.stdout.readline()), threading.Event()

        def kill():
            late.set()
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)

        limit = threading.Timer(timeout, kill)
        limit.start()
        try:
            code = int(self._process.stdout.readline())
        except BaseException:
            kill()
            raise
        finally:
            limit.cancel()
            limit.join()
        return None if late.is_set() else code

    def end(self):
        """End the process, if it was started."""
        if self._process:
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
            self._process = None


def main():
    """Load what takes long, then start what standard input asks for: a line of JSON a start.

    Writes the process id of each, and its exit code when it has ended.
    """
    for name in LOADED:
        importlib.import_module(name)
    # The first kernel takes longest, since numba then loads all that kernels are made of.
    largest_kept = importlib.import_module("fedmpi.kernels.sums").largest_kept
    largest_kept(np.arange(2), np.ones(1, np.uint8), np.zeros(1, np.float32))
    gc.freeze()  # or the first collection in a child would copy every page
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            answers.close()
            begin(**asked)
            return
        print(child, file=answers, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def begin(words, cwd, env, out, err):
    """Be `python -m fedmpi words` in the folder `cwd`."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    new = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    for number, (path, flags) in enumerate(((os.devnull, os.O_RDONLY), (out, new), (err, new))):
        os.dup2(os.open(path, flags), number)
    sys.path[0] = cwd
    sys.argv[1:] = words
    try:
        runpy.run_module("fedmpi", run_name="__main__", alter_sys=True)
    except SystemExit as ending:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ending.code or 0)  # to take down all that is loaded would take a second


if __name__ == "__main__":
    main()
