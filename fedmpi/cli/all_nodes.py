"""Facts that doctor gathers from the ranks of all nodes. Every rank calls each function."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from time import time

import numpy as np

from fedmpi.cli import facts
from fedmpi.comm.base import Comm
from fedmpi.doctor import OK, Finding, clocks, processors, storage

MOST_CORES = 4096  # of a node
TEXT = 300  # characters of a finding that are sent between nodes


def from_all_nodes(comm: Comm, here: Sequence[Finding | None]) -> tuple[int, list[str]]:
    """Return the number of nodes, and a line for each fault on nodes other than this one.

    The first rank of each node reports for it.
    """
    host = os.uname().nodename
    bad = [replace(f, value=f"{host}: {f.value}") for f in here if f and f.level != OK]
    rows = [(comm.rank, f.line().encode()) for f in bad] if comm.node_rank == 0 else []
    table = np.array(rows, [("rank", "<i4"), ("line", f"S{TEXT}")])
    nodes, gathered = comm.count_nodes(), comm.gather_rows(table)
    first = int(comm.share(comm.rank))
    return nodes, [row["line"].decode(errors="replace") for row in gathered if row["rank"] != first]


def nodes(comm: Comm, nodes: int) -> list[Finding | None]:
    """Return Findings that compare the nodes."""
    text = processors.described()
    row = np.zeros(1, [("host", "S64"), ("kind", "S224"), ("time", "<f8")])
    row["host"] = os.uname().nodename
    row["kind"] = f"{processors.model(text)} ({processors.instructions(text)})".encode()
    comm.barrier()
    row["time"] = time()
    rows = comm.gather_rows(row)
    hosts = [host.decode() for host in rows["host"]]
    kinds = [kind.decode(errors="replace") for kind in rows["kind"]]
    return [processors.processors(hosts, kinds), clocks.clocks(hosts, rows["time"].tolist()),
            storage.environment(sys.prefix, facts.mounts(), nodes, comm.size)]


def cores(comm: Comm) -> int:
    """Return how many cores all ranks of this node may use: each may be bound to its own."""
    row = np.zeros(1, [("host", "S64"), ("cores", "?", (MOST_CORES,))])
    row["host"] = os.uname().nodename
    row["cores"][0, [core for core in os.sched_getaffinity(0) if core < MOST_CORES]] = True
    rows = comm.gather_rows(row)
    return int(rows["cores"][rows["host"] == row["host"]].any(axis=0).sum())
