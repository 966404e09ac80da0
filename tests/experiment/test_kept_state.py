"""Parts with a state of their own: a run killed between two checkpoints ends with equal bits."""

import numpy as np
import pytest

import fedmpi
from fedmpi.comm.base import Serial
from fedmpi.errors import ResultError
from fedmpi.experiment import resolve
from fedmpi.experiment.execute import Start, execute
from fedmpi.experiment.stop import NoSignals
from fedmpi.record import checkpoint, reader
from tests.faults.job import CONFIG

KEPT = {
    "asynchronous": """
        [devices]
        profile = "mobile"
        availability = 0.8
        [schedule]
        mode = "async"
        buffer_size = 2
        max_staleness = 1
    """,
    "deadline": """
        [devices]
        profile = "tiers"
        availability = 0.5
        dropout = 0.2
        [schedule]
        mode = "deadline"
        deadline_s = 0.3
        over_select = 1.5
    """,
    "server": """
        [server]
        optimizer = "adam"
        lr = 0.05
    """,
    "stages": """
        [[stage]]
        name = "topk"
        share = 0.1
        [[stage]]
        name = "quantise"
    """,
}


class KilledError(BaseException):
    """A stand-in for a signal that no program can catch."""


def killed_after(rounds):
    """Return a function for `progress` that raises KilledError in the last of `rounds`."""
    def progress(row, total):
        if row.columns["round"] + 1 == rounds:
            raise KilledError

    return progress


@pytest.mark.parametrize("kind", KEPT)
def test_killed_between_checkpoints_and_resumed(tmp_path, monkeypatch, kind):
    text = CONFIG.format(rounds=8, algorithm="Remembers") + KEPT[kind]
    whole, out = tmp_path / "whole.h5", tmp_path / "out.h5"
    given = resolve.resolve(text, "exp.toml", [])
    execute(given, Serial(), Start(out=whole), lambda row, rounds: None, NoSignals())
    with pytest.raises(KilledError):
        execute(given, Serial(), Start(out=out), killed_after(5), NoSignals())
    assert checkpoint.read(checkpoint.path_of(out)).facts["next_round"] == 3
    execute(given, Serial(), Start(out=out, resume=True), lambda row, rounds: None, NoSignals())
    with reader.open(whole) as one, reader.open(out) as other:
        assert one.weights_sha256 == other.weights_sha256
        for table in ("rounds", "clients"):
            for name in getattr(one, table):
                if name not in ("wall_time", "memory_peak"):
                    np.testing.assert_array_equal(getattr(one, table)[name],
                                                  getattr(other, table)[name], name)


@pytest.mark.parametrize(("name", "entry"), [("flash", "warm"), ("fedtiny", "chosen")])
def test_a_state_that_lacks_what_its_method_starts_with_is_refused(tmp_path, name, entry):
    """As earlier versions wrote it; the method would end in a KeyError."""
    keys = {"name": name, "sparsity": 0.5} | ({"warmup": 1} if name == "flash" else {})
    tree = {"algorithm": keys, "run": {"rounds": 3, "checkpoint_every": 1, "checkpoint_share": 1.0},
            "clients": {"number": 4, "per_round": 2},
            "data": {"name": "digits"}, "model": {"name": "mlp", "hidden": [8]}}
    given, out = resolve.of_tree(tree), tmp_path / "out.h5"
    with pytest.raises(KilledError):
        execute(given, Serial(), Start(out=out), killed_after(2), NoSignals())
    path = checkpoint.path_of(out)
    kept = checkpoint.read(path)
    del kept.arrays[f"algorithm/{entry}"]
    with checkpoint.writing(path, kept.facts) as put:
        for array in kept.arrays:
            put.array(array, kept.arrays[array])
    said = f"the state of {name} lacks {entry}, .*; resume with that code, or run"
    with pytest.raises(ResultError, match=said):
        execute(given, Serial(), Start(out=out, resume=True), lambda *_: None, NoSignals())


class Renames(fedmpi.Algorithm):
    """FedAvg with an entry that a test renames; `start` also has one that the first step drops."""

    entry = "pull"

    def start(self, weights):
        return {"weights": weights, "first": weights, self.entry: np.zeros(1)}

    def plan(self, state, round, client):
        everything = fedmpi.Support.all(self.layout)
        return fedmpi.Plan(down=everything, up=everything, proximal=float(state[self.entry][0]))

    def step(self, state, sums, round):
        return {"weights": sums["weights"].mean(state["weights"]), self.entry: state[self.entry]}


class Asks(fedmpi.Selector):
    """Asks the first clients, and stores an array that a test renames."""

    entry = "asked"

    def __init__(self, keys, seed, clients):
        super().__init__(keys, seed, clients)
        self.asked = np.zeros(clients)

    def select(self, round, world, number, in_turn):
        return np.flatnonzero(world.sizes)[:number]

    def arrays(self):
        return {self.entry: self.asked}

    def restore(self, arrays):
        self.asked = arrays[self.entry]


@pytest.mark.parametrize("changed", [None, Renames, Asks])
def test_a_users_state_that_was_renamed_is_refused(tmp_path, monkeypatch, changed):
    """With --force the run went on, and ended in a KeyError."""
    tree = {"algorithm": {"name": f"{__name__}:Renames"},
            "run": {"rounds": 3, "checkpoint_every": 1, "checkpoint_share": 1.0},
            "clients": {"number": 4, "per_round": 2, "selection": f"{__name__}:Asks"},
            "data": {"name": "digits"}, "model": {"name": "mlp", "hidden": [8]}}
    given, out = resolve.of_tree(tree), tmp_path / "out.h5"
    with pytest.raises(KilledError):
        execute(given, Serial(), Start(out=out), killed_after(2), NoSignals())
    start = Start(out=out, resume=True, force=True)
    if changed is None:  # the entry that the method itself drops is no fault
        execute(given, Serial(), start, lambda *_: None, NoSignals())
        return
    monkeypatch.setattr(changed, "entry", "other")
    said = f"the state of {__name__}:{changed.__name__} lacks other, .*; resume with that code, or"
    with pytest.raises(ResultError, match=said):
        execute(given, Serial(), start, lambda *_: None, NoSignals())
