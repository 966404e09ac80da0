"""A check that finds methods whose clients give other results a second time or on another rank."""

import hashlib

import numpy as np

from fedmpi.comm.base import Comm
from fedmpi.errors import AlikeError
from fedmpi.exchange import Job
from fedmpi.record.digest import little_endian
from fedmpi.round.fixed import Experiment
from fedmpi.round.visit import visits

_ROW = np.dtype([("client", "<i8"), ("time", "<i8"), ("rank", "<i8"), ("digest", "S64")])


def train_twice(experiment: Experiment, comm: Comm, clients: int) -> None:
    """Train the first `clients` with samples twice on every rank, as in round 0; collective.

    Odd ranks train them in the opposite order. The results are discarded. Raises AlikeError on all
    ranks that names the first client with messages or memories that differ.
    """
    chosen = np.flatnonzero(experiment.sizes)[:clients].tolist()
    mine = [(client, time, comm.rank, _digest(experiment, client).encode())
            for time in (1, 2) for client in chosen[:: -1 if comm.rank % 2 else 1]]
    rows = np.sort(comm.gather_rows(np.array(mine, _ROW)), order=["client", "rank", "time"])
    for client in chosen:
        found = rows[rows["client"] == client]
        other = found[found["digest"] != found["digest"][0]]
        if len(other):
            place = "" if comm.size == 1 else f" on rank {other['rank'][0]}"
            raise AlikeError(
                f"run.train_twice: client {client} sends different bits the "
                f"{('first', 'second')[other['time'][0] - 1]} time{place}: the method "
                f"{experiment.algorithm.name} or the model draws from a generator other than "
                "rng_for, or keeps numbers on self"
            )


def _digest(experiment: Experiment, client: int) -> str:
    """Return a hex digest of all that a client of round 0 sends and keeps."""
    algorithm = experiment.algorithm
    state = algorithm.start(experiment.weights.copy())
    job = Job(client, 0, state, experiment.plan(state, 0, client), 1.0)
    (done,) = visits(experiment.server(), experiment.engine, [job])
    found = hashlib.sha256(f"{done.reason}\0{done.report and done.report.loss!r}\0".encode())
    parts = done.arrival.parts if done.arrival else {}
    for name in sorted(parts):
        found.update(name.encode() + b"\0")
        found.update(parts[name].support.mask().tobytes())
        found.update(little_endian(parts[name].values).tobytes())
    for name, array in sorted((done.memory or {}).items()):
        found.update(name.encode() + b"\0" + little_endian(np.asarray(array)).tobytes())
    return found.hexdigest()
