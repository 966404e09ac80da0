"""Be `fedmpi WORDS`, of which `tests.starts` forks the process:  started.py SOCKET WORDS

This process lends it its streams and its launcher's, and ends as it ends. It is made to start fast.
"""

import json
import os
import signal
import socket
import sys

LAUNCHER = "PMI_FD"  # where MPICH's launcher says which stream is its own


def main():
    """Ask for the process, and wait for its end."""
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
