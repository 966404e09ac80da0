"""Methods that change what clients do inside another algorithm, whose server rule stays."""

from typing import Literal

from fedmpi.algorithm import ALGORITHMS, Algorithm, Keys
from fedmpi.section import NotNegative


class InsideKeys(Keys):
    """Which algorithm, and its keys."""

    inside: Literal["fedavg", "fedprox", "fednova", "scaffold"] = "fedavg"  # what is pruned
    mu: NotNegative = 0.01  # weight of FedProx's pull


class Inside(Algorithm):
    """An algorithm that passes every question on to `self.inner`; subclasses answer some.

    The inner algorithm has the same Setting, so memory, own models and loads are the same.
    """

    Keys = InsideKeys

    def __init__(self, keys, setting):
        super().__init__(keys, setting)
        inner = ALGORITHMS[keys.inside]
        own = {"mu": keys.mu} if "mu" in inner.Keys.model_fields else {}
        self.inner = inner(inner.Keys(**own), setting)
        self._take_over()

    def _take_over(self):
        for name in ("level", "fill", "base", "remembers", "personal", "prunes"):
            setattr(self, name, getattr(self.inner, name))

    @property
    def remedy(self):
        """Ask the inner algorithm."""
        return self.inner.remedy

    def allow_sparse(self, why):
        """Ask the inner algorithm."""
        self.inner.allow_sparse(why)
        self._take_over()

    @classmethod
    def sends_as_planned(cls, keys):
        """Ask the inner algorithm."""
        return ALGORITHMS[keys.inside].sends_as_planned(keys)

    def start(self, weights):
        """Ask the inner algorithm."""
        return self.inner.start(weights)

    def plan(self, state, round, client):
        """Ask the inner algorithm."""
        return self.inner.plan(state, round, client)

    def load(self, round, client):
        """Ask the inner algorithm."""
        return self.inner.load(round, client)

    def message(self, job, report):
        """Ask the inner algorithm."""
        return self.inner.message(job, report)

    def remember(self, job, report, message, arrival):
        """Ask the inner algorithm."""
        return self.inner.remember(job, report, message, arrival)

    def own(self, state, client):
        """Ask the inner algorithm."""
        return self.inner.own(state, client)

    def zero(self):
        """Ask the inner algorithm."""
        return self.inner.zero()

    def add(self, sums, arrival):
        """Ask the inner algorithm."""
        self.inner.add(sums, arrival)

    def step(self, state, sums, round):
        """Ask the inner algorithm."""
        return self.inner.step(state, sums, round)

    def kept(self, state):
        """Ask the inner algorithm."""
        return self.inner.kept(state)
