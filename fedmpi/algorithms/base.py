"""What an algorithm of federated learning is: five questions, and a name to find it by."""

from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from fedmpi.errors import ConfigError
from fedmpi.layout import Layout
from fedmpi.rng import rng_for
from fedmpi.section import Section
from fedmpi.totals import Total

ALGORITHMS = {}


class Keys(Section):
    """The [algorithm] keys of a method; subclass it and name each key with its type."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What an algorithm may know of the run that it serves.

    `speed` is float64[K]: each client's compute rate relative to the fastest, in (0, 1].
    `optimizer` is the run's [optimizer] section; `gates` float64[L] or None the share of
    each layer's multiply-adds that channel gates leave.
    """

    layout: Layout
    seed: int
    rounds: int
    clients: int
    exact: bool
    speed: np.ndarray
    optimizer: object = None
    gates: np.ndarray | None = None


class Algorithm(ABC):
    """A method, asked by the round loop; it never hears of ranks.

    State is a dict of arrays, "weights" (float32[P]) among them. As given here, a
    round ends with the mean of the clients' weights over those who sent each unit
    (McMahan et al., AISTATS 2017, arXiv:1602.05629, and its partial forms); a method
    overrides what differs, and names in `level` the units in which its supports vary.
    """

    Keys = Keys
    level = "model"
    prunes = False  # True if a step may change the weights though nobody reported
    remedy = "lower optimizer.lr"  # what to do if training diverges
    torch_only = False  # True if clients do what only the torch engine can

    def __init_subclass__(cls, name=None, **kwargs):
        super().__init_subclass__(**kwargs)
        if name is None:
            return
        taken = ALGORITHMS.get(name)
        if taken and taken.__qualname__ != cls.__qualname__:
            raise ConfigError(f"algorithm name {name!r} is taken by {taken.__module__}")
        ALGORITHMS[name] = cls
        cls.name = name

    def __init__(self, keys, setting):
        self.keys, self.setting, self.layout = keys, setting, setting.layout
        self.attach(defaultdict(dict), None)

    def attach(self, memory, accuracy):
        """Take what a client may ask: `memory[client]`, what `remember` returned last or {}, and
        `accuracy(client, weights)`, the share of its samples that float32[P] weights class right.
        """
        self._memory, self.accuracy = memory, accuracy

    def memory(self, client):
        """Return what `client` keeps: a dict of arrays, empty before its first round."""
        return self._memory[client]

    @classmethod
    def gates(cls, keys):
        """Return the Gates that the model is to have, or None."""
        return

    def rng_for(self, purpose, round, client=0):
        """Return the random stream of this run for a purpose, a round and a client."""
        return rng_for(self.setting.seed, purpose, round, client)

    def start(self, weights):
        """Return the state of round 0, from the first weights float32[P]."""
        return {"weights": weights}

    @abstractmethod
    def plan(self, state, round, client):
        """Return the Plan of one client in one round."""

    def load(self, round, client):
        """Return the predicted work of a client's round, as a share of that of a whole model."""
        return 1.0

    def message(self, state, plan, report):
        """Return what the client sends: name -> (float32[P], Support), "weights" among them.

        Runs on the client. Other names arrive in the statistics of the Report that `add` gets.
        """
        return {"weights": (report.weights, plan.up)}

    def remember(self, state, plan, report, sent):
        """Return what the client keeps until its next round, a dict of arrays, or None.

        Runs on the client. `sent` is what `message` returned, as the server decodes it.
        """
        return

    @property
    def remembers(self):
        """True if clients keep anything between rounds."""
        return type(self).remember is not Algorithm.remember

    def own(self, state, client):
        """Return the Own model of a client at the end of a round, None if it is the global one.
        Its shared parts are those in `state`, as if every client had just received them.
        """
        return

    @property
    def personal(self):
        """True if some clients' models may differ from the global one."""
        return type(self).own is not Algorithm.own

    def zero(self):
        """Return the sums of nobody: a dict of Total."""
        return {"weights": Total(self.layout, self.level, self.setting.exact)}

    def add(self, sums, plan, report):
        """Add one client's Report to the sums of its rank, in place."""
        sums["weights"].add(report.weights, report.share, plan.up)

    def step(self, state, sums, round):
        """Return the next state, from the sums over all clients; runs alike on every rank."""
        return state | {"weights": sums["weights"].mean(state["weights"])}

    def kept(self, state):
        """Return uint8[P], 0 where the global model is pruned, or None if nothing is."""
        return state.get("mask")

    def density(self, state):
        """Return the part of the global model's coordinates that are not pruned."""
        kept = self.kept(state)
        return 1.0 if kept is None else float(kept.mean())
