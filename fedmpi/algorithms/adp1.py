"""ADP v1: channel gates that depend on the sample, inside an ordinary algorithm.

Yu, Nguyen, Anwar and Jannesari, "Adaptive Dynamic Pruning for Non-IID Federated Learning",
arXiv:2106.06921 version 1 (2021), and its published code. Every convolution gets gates (see
fedmpi.learn.gates) that keep a share of the channels for each sample, in training and in
test; gates are trained and averaged like all other weights, so messages grow a little while
inference and training cost about ratio^2. `inside` names the server's algorithm.
Deviations: none known. The published logs compare different networks (a dense VGG-11 and a
gated VGG with BN); here the gated network is the dense one with gates. `squash` is what the
code does for VGG, stem = false what it does for residual networks.
"""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from fedmpi.algorithms.base import ALGORITHMS, Algorithm, Keys
from fedmpi.plan import Gates


class ADP1(Algorithm, name="adp-v1"):
    """Gated convolutions under FedAvg, FedProx, FedNova or SCAFFOLD."""

    class Keys(Keys):
        """The [algorithm] keys of ADP v1."""

        ratio: float = Field(0.7, gt=0, le=1)  # share of the channels that stay open
        squash: bool = False  # a sigmoid on the gates' input
        stem: bool = True  # gate the first convolution too
        inside: Literal["fedavg", "fedprox", "fednova", "scaffold"] = "fedavg"
        mu: float = Field(0.01, ge=0)  # of FedProx

    def __init__(self, keys, setting):
        inner = ALGORITHMS[keys.inside]
        own = {"mu": keys.mu} if keys.inside == "fedprox" else {}
        self.inner = inner(inner.Keys(**own), setting)
        super().__init__(keys, setting)

    @classmethod
    def gates(cls, keys):
        """The gates to build the model with."""
        return Gates(keys.ratio, keys.squash, keys.stem)

    def attach(self, memory, accuracy):
        """Pass on to the algorithm inside."""
        self.inner.attach(memory, accuracy)

    def start(self, weights):
        """What the algorithm inside starts from."""
        return self.inner.start(weights)

    def plan(self, state, round, client):
        """The plan of the algorithm inside, at the cost that the gates leave."""
        return replace(self.inner.plan(state, round, client), gates=self.setting.gates)

    def message(self, state, plan, report):
        """As the algorithm inside."""
        return self.inner.message(state, plan, report)

    def remember(self, state, plan, report, sent):
        """As the algorithm inside."""
        return self.inner.remember(state, plan, report, sent)

    @property
    def remembers(self):
        """As the algorithm inside."""
        return self.inner.remembers

    def zero(self):
        """As the algorithm inside."""
        return self.inner.zero()

    def add(self, sums, plan, report):
        """As the algorithm inside."""
        self.inner.add(sums, plan, report)

    def step(self, state, sums, round):
        """As the algorithm inside."""
        return self.inner.step(state, sums, round)
