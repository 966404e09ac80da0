"""Ranks in separate namespaces: no shared memory, and a network of the requested rate."""

import os
import re
import subprocess
import sys

import pytest

from fedmpi.bench.emulated_nodes import EmulatedNodes
from fedmpi.errors import FedmpiError
from tests.conftest import mpiexec, namespaces

SENDS = """
from time import perf_counter
import numpy as np
from fedmpi.comm.mpi import Mpi
ours = Mpi()
comm = ours.raw
data, taken = np.ones(4_000_000, np.uint8), []
for _ in range(3):
    comm.Barrier()
    began = perf_counter()
    comm.Send(data, 1) if comm.rank == 0 else comm.Recv(data, 0)
    taken.append(perf_counter() - began)
count = ours.count_nodes()
if comm.rank == 1:
    print(comm.size, count, min(taken))
"""


@pytest.mark.skipif(not namespaces(), reason="needs iproute2 and the right to make namespaces")
def test_two_nodes_share_no_memory_and_their_link_has_its_rate():
    with EmulatedNodes(2, 1.0) as nodes:
        words = nodes.launch(tuple(map(str, mpiexec(1)[:2])), [sys.executable, "-c", SENDS])
        environ = dict(os.environ) | nodes.environ
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=120)
        addresses = subprocess.run(["ip", "addr"], capture_output=True, text=True).stdout
        route = ["ip", "-n", f"fmb{os.getpid()}-1", "route"]
        route = subprocess.run(route, capture_output=True, text=True).stdout
    assert done.returncode == 0, done.stderr
    size, count, seconds = done.stdout.split()
    assert (size, count) == ("2", "2")
    assert float(seconds) > 0.9 * 8 * 4e6 / 1e9  # no faster than the link, but for its bucket
    assert "congctl reno" in route and "initcwnd 1000" in route  # for any rule of the system
    # Other MPI programs use any interface that has an address.
    ours = [part for part in re.split(r"^\d+: ", addresses, flags=re.M) if part.startswith("fmb")]
    assert len(ours) >= 3 and not any("inet" in part for part in ours)
    listed = subprocess.run(["ip", "link"], capture_output=True, text=True).stdout
    assert f"fmb{os.getpid()}" not in listed


def test_what_cannot_be_made_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FedmpiError, match="ip"), EmulatedNodes(2, 1.0):
        pass
