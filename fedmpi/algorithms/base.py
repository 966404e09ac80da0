"""What an algorithm of federated learning is: five questions, and a name to find it by."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from fedmpi.errors import ConfigError
from fedmpi.layout import Layout
from fedmpi.rng import rng_for
from fedmpi.totals import Total

ALGORITHMS = {}


class Keys(BaseModel):
    """The [algorithm] keys of a method; subclass it and name each key with its type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@dataclass(frozen=True, eq=False)
class Setting:
    """What an algorithm may know of the run that it serves.

    `speed` is float64[K]: each client's compute rate relative to the fastest, in (0, 1].
    """

    layout: Layout
    seed: int
    rounds: int
    clients: int
    exact: bool
    speed: np.ndarray


class Algorithm(ABC):
    """A method, asked by the round loop; it never hears of ranks.

    State is a dict of arrays, "weights" (float32[P]) among them. As given here, a
    round ends with the mean of the clients' weights over those who sent each unit
    (McMahan et al., AISTATS 2017, arXiv:1602.05629, and its partial forms); a method
    overrides what differs, and names in `level` the units in which its supports vary.
    """

    Keys = Keys
    level = "model"

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

    def rng_for(self, purpose, round, client=0):
        """Return the random stream of this run for a purpose, a round and a client."""
        return rng_for(self.setting.seed, purpose, round, client)

    def start(self, weights):
        """Return the state of round 0, from the first weights float32[P]."""
        return {"weights": weights}

    @abstractmethod
    def plan(self, state, round, client):
        """Return the Plan of one client in one round."""

    def zero(self):
        """Return the sums of nobody: a dict of Total."""
        return {"weights": Total(self.layout, self.level, self.setting.exact)}

    def add(self, sums, plan, report):
        """Add one client's Report to the sums of its rank, in place."""
        sums["weights"].add(report.weights, report.share, plan.up)

    def step(self, state, sums, round):
        """Return the next state, from the sums over all clients; runs alike on every rank."""
        return state | {"weights": sums["weights"].mean(state["weights"])}

    def density(self, state):
        """Return the part of the global model's coordinates that are not pruned."""
        return 1.0
