"""Checkpoints take their share of the time and no more; rank 0 never holds all memories."""

import numpy as np

from fedmpi.comm.base import Serial
from fedmpi.experiment import save
from fedmpi.experiment.save import CheckpointBudget
from fedmpi.record import checkpoint
from fedmpi.round import transfer
from fedmpi.round.memories import ClientStore, unpack
from tests.faults.job import run_here


class Clock:
    """A clock that a test sets."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(save, "perf_counter", lambda: self.now)

    def pass_by(self, seconds):
        self.now += seconds

    def keep(self, simulation, writer, out, seconds):
        """Take the time that a checkpoint costs."""
        self.pass_by(seconds)


def test_checkpoints_take_no_more_than_their_share(monkeypatch):
    clock = Clock(monkeypatch)
    monkeypatch.setattr(save, "save_checkpoint", clock.keep)
    budget, taken = CheckpointBudget(0.02), []
    for round in range(1000):
        clock.pass_by(0.1)
        if budget.allows(Serial()):
            budget.keep(None, None, "out.h5", 0.03)
            taken.append(round)
            assert len(taken) == 1 or 0.03 * len(taken) <= 0.02 * clock.now + 1e-9
    assert taken[0] == 0 and 0.018 * clock.now < 0.03 * len(taken)


def test_those_that_cost_little_are_all_taken(monkeypatch):
    clock = Clock(monkeypatch)
    monkeypatch.setattr(save, "save_checkpoint", clock.keep)
    for share, cost in ((0.02, 0.01), (1.0, 50.0)):
        budget = CheckpointBudget(share)
        for _ in range(100):
            clock.pass_by(1.0)
            assert budget.allows(Serial())
            budget.keep(None, None, "out.h5", cost)


def test_a_run_takes_those_that_it_is_allowed(tmp_path, monkeypatch):
    """The state is the same, however many checkpoints it has seen."""
    written = []
    monkeypatch.setattr(save.checkpoint, "writing", count(checkpoint.writing, written))
    shares = {}
    for share in ("1.0", "1e-9"):
        out = tmp_path / f"{share}.h5"
        run_here(out, "Remembers", [f"run.checkpoint_share={share}"], 12)
        shares[share], written[:] = len(written), []
        kept = checkpoint.read(checkpoint.path_of(out))
        assert kept.facts["next_round"] == 12
        shares[share, "clients"] = {c: kept.client(c) for c in kept.clients}
    assert shares["1.0"] == 12 / 3  # of the last round one, not two
    assert shares["1e-9"] == 2
    assert shares["1.0", "clients"] == shares["1e-9", "clients"]


def count(function, calls):
    """Return the function, which notes each call."""
    def counted(*words):
        calls.append(words)
        return function(*words)

    return counted


class Many(Serial):
    """One rank of a thousand, the only one with memories; it notes the size of each message."""

    size = 1000

    def __init__(self):
        self.sent = []

    def exchange(self, boxes):
        self.sent.append(len(boxes[0]))
        return boxes


def test_memories_come_a_little_at_a_time():
    simulation = type("Simulation", (), {"comm": Many(), "memories": ClientStore(limit=10_000)})
    for client in range(40):
        simulation.memories.prepare(client, {"a": np.full(25_000, client, np.float32)})
    simulation.memories.commit()
    found = {client: unpack(data)["a"][0] for client, data in save._memories(simulation)}
    assert found == {client: client for client in range(40)}
    assert len(simulation.comm.sent) > 3
    assert max(simulation.comm.sent) <= transfer.CHUNK // 1000
