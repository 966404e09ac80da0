"""Ranks that leave so that MPICH's launcher does not see it, as can happen on a busy machine:
unseen.py HOW, where rank 0 leaves, and the others wait for it or compute.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from fedmpi.comm.leave import end_all
from fedmpi.comm.start import start
from fedmpi.experiment.watch import watching

ENDS = {
    "end_all": lambda comm: end_all(130),
    "abort": lambda comm: comm.abort(3),
    "_exit": lambda comm: os._exit(0),
}


def block_the_launcher():
    """Stop mpiexec for two seconds, and let its proxy, our parent, wait for it meanwhile.

    The proxy has then looked at its streams before we leave, and looks for processes that have
    ended before it looks at its streams again.
    """
    launcher = int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])
    nowhere = subprocess.DEVNULL
    subprocess.Popen(["sh", "-c", f"sleep 2; kill -CONT {launcher}"], start_new_session=True,
                     stdin=nowhere, stdout=nowhere, stderr=nowhere)
    os.kill(launcher, signal.SIGSTOP)
    os.set_blocking(1, False)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        try:
            os.write(1, b"." * 4096)
            end = time.monotonic() + 0.3
        except BlockingIOError:
            time.sleep(0.01)


if __name__ == "__main__":
    comm = start(os.environ)
    with watching(comm, 60.0, lambda text: sys.stderr.write(text + "\n")):
        comm.barrier()
        if comm.rank == 0:
            block_the_launcher()
            ENDS[sys.argv[1]](comm)
        elif sys.argv[1] == "abort":
            time.sleep(100)  # as training, that does not call MPI
        comm.barrier()
