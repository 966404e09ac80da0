"""The base of methods that change the clients' training and keep another algorithm's server."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from fedmpi.algorithm import ALGORITHMS, Algorithm, Keys
from fedmpi.arrays import Flags, Memory, State, Vector
from fedmpi.exchange import Arrival, Job, Part, Parts, Report
from fedmpi.plan import Own, Plan
from fedmpi.section import NotNegative, Section
from fedmpi.setting import Setting
from fedmpi.totals import Pending, Sums


class InsideKeys(Keys):
    """The [algorithm] keys that choose the inner algorithm, and that algorithm's own keys."""

    inside: Literal["fedavg", "fedprox", "fednova", "scaffold"] = "fedavg"  # the inner algorithm
    mu: NotNegative = 0.01  # weight of FedProx's proximal term


class Inside(Algorithm):
    """An algorithm that delegates every method to `self.inner`; subclasses override some.

    The inner algorithm has the same Setting, so memory, own models and loads are the same.
    """

    Keys: ClassVar[type[Section]] = InsideKeys
    sends_as_planned = True  # if the inner algorithm's clients do
    inner: Algorithm

    def __init__(self, keys: InsideKeys, setting: Setting) -> None:
        super().__init__(keys, setting)
        inner: type[Algorithm] = ALGORITHMS[keys.inside]
        own = {"mu": keys.mu} if "mu" in inner.Keys.model_fields else {}
        self.inner = inner(inner.Keys(**own), setting)
        self.remedy = self.inner.remedy
        self.sends_as_planned &= self.inner.sends_as_planned
        self._take_over()

    def _take_over(self) -> None:
        for name in ("level", "fill", "base", "remembers", "personal", "prunes", "scheduled"):
            setattr(self, name, getattr(self.inner, name))

    def allow_sparse(self, why: str) -> None:
        """Delegate to the inner algorithm, unless clients leave out coordinates already."""
        if self.level != "model":
            super().allow_sparse(why)  # it raises ConfigError
        self.inner.allow_sparse(why)
        self._take_over()

    def start(self, weights: Vector) -> State:
        """Delegate to the inner algorithm."""
        return self.inner.start(weights)

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Delegate to the inner algorithm."""
        return self.inner.plan(state, round, client)

    def load(self, round: int, client: int) -> float:
        """Delegate to the inner algorithm."""
        return self.inner.load(round, client)

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Delegate to the inner algorithm."""
        return self.inner.message(job, report)

    def remember(self, job: Job, report: Report, message: Parts, arrival: Arrival) -> Memory | None:
        """Delegate to the inner algorithm."""
        return self.inner.remember(job, report, message, arrival)

    def own(self, state: State, client: int) -> Own | None:
        """Delegate to the inner algorithm."""
        return self.inner.own(state, client)

    def zero(self) -> Sums:
        """Delegate to the inner algorithm."""
        return self.inner.zero()

    def add(self, sums: Mapping[str, Pending], arrival: Arrival) -> None:
        """Delegate to the inner algorithm."""
        self.inner.add(sums, arrival)

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Delegate to the inner algorithm."""
        return self.inner.step(state, sums, round)

    def kept(self, state: State) -> Flags | None:
        """Delegate to the inner algorithm."""
        return self.inner.kept(state)
