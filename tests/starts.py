"""Starts `fedmpi` from a process in which its modules are loaded, which takes seconds.

`Starts` runs this file as a program, which `tests/started.py` asks for one process after another.
Each is a fork, made while no thread, MPI or CUDA has begun, and has a session of its own. It is
killed if the process that asked for it ends.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.started import LAUNCHER

LOADED = ("fedmpi.algorithms.fedavg", "fedmpi.cli", "fedmpi.cli.progress_display",
          "fedmpi.experiment.execute", "fedmpi.learn.data.digits", "fedmpi.learn.engines",
          "fedmpi.learn.partitions.iid", "fedmpi.record.writer", "fedmpi.scheduler.snapshot",
          "h5py._hl.dims")
HERE = Path(__file__).parent
LIBC = ctypes.PyDLL(None)


class Starts:
    """The process from which commands are forked, which is started with the first of them."""

    def __init__(self):
        self._process = None

    def words(self):
        """Return the words that come before those of `fedmpi`, behind Python's name."""
        if self._process is None:
            self._folder = tempfile.TemporaryDirectory(prefix="fedmpi-starts-")
            self._path = Path(self._folder.name, "socket")
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(self._path))
                listener.listen(64)
                words = [sys.executable, "-m", "tests.starts", str(listener.fileno())]
                self._process = subprocess.Popen(words, cwd=HERE.parent, stdin=subprocess.PIPE,
                                                 pass_fds=[listener.fileno()])
        return ["-I", "-S", HERE / "started.py", self._path]

    def end(self):
        """End the process, if it was started."""
        if self._process:
            self._process.communicate()
            self._folder.cleanup()
            self._process = None


def main():
    """Load the slow modules, then fork the requested processes, until standard input ends."""
    for name in LOADED:
        importlib.import_module(name)
    warmup = importlib.import_module("fedmpi.kernels.warmup")
    warmup.warm()
    warmup.warm_sums()
    gc.freeze()  # or the first collection in a child would copy every page
    listener, ready = socket.socket(fileno=int(sys.argv[1])), selectors.DefaultSelector()
    for source in (listener, sys.stdin):
        ready.register(source, selectors.EVENT_READ)
    while True:
        event, _ = ready.select()[0]  # of one at a time: it may settle the next
        if event.fileobj is sys.stdin:
            return
        if event.fileobj is listener:
            start(listener, ready)
        else:
            end(event, ready)


def start(listener, ready):
    """Fork a process for who asks next, and watch both."""
    asker, _ = listener.accept()
    _, streams, _, _ = socket.recv_fds(asker, 1, 4)
    line = asker.makefile().readline()
    child = line and os.fork()
    if child == 0:
        listener.close()
        begin(**json.loads(line), streams=streams)
    for stream in streams:
        os.close(stream)
    if child:
        for source in (os.pidfd_open(child), asker):
            ready.register(source, selectors.EVENT_READ, (child, asker))


def end(event, ready):
    """Kill a process whose asker is gone, or tell the asker that the process is."""
    child, asker = event.data
    ready.unregister(event.fileobj)
    if event.fileobj is asker:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return
    os.close(event.fileobj)
    _, status = os.waitpid(child, 0)
    with suppress(KeyError):
        ready.unregister(asker)
    with suppress(ConnectionError):
        asker.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    asker.close()


def begin(words, cwd, env, streams):
    """Be `python -m fedmpi words` in the folder `cwd`, which raises SystemExit at its end."""
    os.setsid()
    LIBC.on_exit(LIBC._exit, None)  # skips, at the end, functions of modules loaded before
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, stream in enumerate(streams[:3]):
        os.dup2(stream, number)
    if streams[3:]:
        os.environ[LAUNCHER] = str(streams[3])
    coding = env.get("PYTHONIOENCODING")  # Python's own streams know whether the old can seek
    sys.stdout = os.fdopen(1, "w", encoding=coding, closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, coding, errors="backslashreplace", closefd=False)
    sys.path[0] = cwd
    sys.argv[1:] = words
    try:
        runpy.run_module("fedmpi", run_name="__main__", alter_sys=True)
    except SystemExit as ending:
        leave(ending.code or 0)


def leave(code):
    """End MPI, then this process, but leave to the system to take down all that is loaded.

    Python would touch, and so copy, most of the memory that it shares: a third of a second.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi and mpi.Is_initialized() and not mpi.Is_finalized():
        mpi.Finalize()
        LIBC.exit(code)  # where MPICH takes leave of its launcher
    os._exit(code)


if __name__ == "__main__":
    main()
