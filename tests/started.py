"""Be `fedmpi WORDS`, of which `tests.starts` forks the process:  started.py SOCKET WORDS

This process lends it its streams and its launcher's, and ends as it ends. It is made to start fast.
Under a launcher that has no stream to lend it becomes `fedmpi` itself.
"""

import json
import os
import signal
import socket
import sys

LAUNCHER = "PMI_FD"  # where MPICH's launcher says which stream is its own
RANKS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK")


def main():
    """Ask for the process, and wait for its end."""
    if LAUNCHER not in os.environ and any(name in os.environ for name in RANKS):
        os.execv(sys.executable, [sys.executable, "-m", "fedmpi", *sys.argv[2:]])
    streams = [0, 1, 2, *(int(os.environ[name]) for name in [LAUNCHER] if name in os.environ)]
    asked = {"words": sys.argv[2:], "cwd": os.getcwd(), "env": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(sys.argv[1])
        socket.send_fds(server, [b"\n"], streams)
        server.sendall(json.dumps(asked).encode() + b"\n")
        code = int(server.makefile().readline())
    if code < 0:
        os.kill(os.getpid(), -code)
        signal.pause()
    os._exit(code)


if __name__ == "__main__":
    main()
