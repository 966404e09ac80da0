"""Every rule of selection in every mode, stopped within a round and resumed: the same bits."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest

from fedmpi.comm.base import Serial
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import of_tree
from fedmpi.experiment.stop import NoSignals
from fedmpi.record import checkpoint_parts
from fedmpi.round.loop import Simulation
from fedmpi.round.memories import unpack
from fedmpi.selectors import SELECTORS

MODES = {
    "sync": {},
    "deadline": {"mode": "deadline", "deadline_s": 0.3},
    "async": {"mode": "async", "buffer_size": 2},
}
ROUNDS, CUT = 5, 2


class AskedAfter:
    """A Stop that is asked once it was looked at `looks` times."""

    def __init__(self, looks):
        self.looks = looks

    @property
    def asked(self):
        self.looks -= 1
        return "SIGTERM" if self.looks < 0 else ""


def simulation(name, mode, dropout=0.3, availability=0.8):
    tree = {
        "run": {"rounds": ROUNDS, "seed": 5, "engine": "torch"},
        "data": {"partition": "quantity"},
        "clients": {"number": 12, "per_round": 5, "batch_size": 16, "selection": name},
        "model": {"name": "softmax"},
        "devices": {"profile": "tiers", "dropout": dropout, "availability": availability},
        "schedule": MODES[mode],
        "stage": [{"name": "topk", "share": 0.1}],  # clients keep something
    }
    return Simulation(assemble(of_tree(tree), Serial(), None), Serial(), NoSignals())


def taken_up(old, new):
    """Let a new Simulation continue from the arrays that a checkpoint keeps of an old one."""
    arrays = copy.deepcopy(checkpoint_parts.by_name(old.arrays()))
    new.restore(checkpoint_parts.by_part(SimpleNamespace(arrays=arrays, path="")))
    for client in old.memories.clients():
        new.memories.prepare(client, unpack(old.memories.packed(client)))
    new.memories.commit()
    new.next_round, new.virtual_time = old.next_round, old.virtual_time


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_a_run_stopped_within_a_round_ends_as_an_unbroken_run(name, mode):
    whole, broken, again = (simulation(name, mode) for _ in range(3))
    want = [whole.round() for _ in range(ROUNDS)]
    for _ in range(CUT):
        broken.round()
    broken.stop = AskedAfter(1)
    assert broken.round() is None
    taken_up(broken, again)
    for row in want[CUT:]:
        found = again.round()
        assert found.clients.tobytes() == row.clients.tobytes()
        assert found.columns["virtual_time"] == row.columns["virtual_time"]
    assert again.state["weights"].tobytes() == whole.state["weights"].tobytes()


def test_only_clients_at_work_miss_their_turn_in_asynchronous_rounds(monkeypatch):
    """With half of the clients lost, about twice as many are drawn as begin."""
    run, began = simulation("round-robin", "async", dropout=0.5, availability=1.0), []
    selector, note = run.experiment.selector, run.experiment.selector.begun
    monkeypatch.setattr(selector, "begun", lambda ids: (began.append(ids), note(ids)))
    turn, at_work = 0, set()
    for _ in range(ROUNDS):
        ended = run.round().clients["client"].tolist()
        for client in began[-1].tolist():
            while turn != client:
                assert turn in at_work
                turn = (turn + 1) % 12
            turn = (turn + 1) % 12
        at_work = (at_work | set(began[-1].tolist())) - set(ended)
    assert len(np.concatenate(began)) > 12
