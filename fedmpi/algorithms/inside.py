"""Methods that change what clients do inside another algorithm, whose server rule stays."""

from typing import Literal

from pydantic import Field

from fedmpi.algorithms.base import ALGORITHMS, Algorithm, Keys


class InsideKeys(Keys):
    """Which algorithm, and its keys."""

    inside: Literal["fedavg", "fedprox", "fednova", "scaffold"] = "fedavg"
    mu: float = Field(0.01, ge=0)  # of FedProx


class Inside(Algorithm):
    """An algorithm that passes every question on to `self.inner`; subclasses answer some."""

    Keys = InsideKeys

    def __init__(self, keys, setting):
        inner = ALGORITHMS[keys.inside]
        own = {"mu": keys.mu} if "mu" in inner.Keys.model_fields else {}
        self.inner = inner(inner.Keys(**own), setting)
        super().__init__(keys, setting)

    def attach(self, memory, accuracy):
        """Pass on."""
        self.inner.attach(memory, accuracy)

    def start(self, weights):
        """Pass on."""
        return self.inner.start(weights)

    def plan(self, state, round, client):
        """Pass on."""
        return self.inner.plan(state, round, client)

    def message(self, state, plan, report):
        """Pass on."""
        return self.inner.message(state, plan, report)

    def remember(self, state, plan, report, sent):
        """Pass on."""
        return self.inner.remember(state, plan, report, sent)

    @property
    def remembers(self):
        """Pass on."""
        return self.inner.remembers

    def zero(self):
        """Pass on."""
        return self.inner.zero()

    def add(self, sums, plan, report):
        """Pass on."""
        self.inner.add(sums, plan, report)

    def step(self, state, sums, round):
        """Pass on."""
        return self.inner.step(state, sums, round)
