"""The base class of federated-learning methods: a name, and the methods that the round loop calls.

    class FedAvg(Algorithm, name="fedavg"):
        def plan(self, state, round, client):
            everything = Support.all(self.layout)
            return Plan(down=everything, up=everything)

is a complete method. Each result depends only on the arguments, the method's keys and its Setting.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from fedmpi import returned
from fedmpi.arrays import Flags, Memory, State, Vector
from fedmpi.errors import ConfigError
from fedmpi.exchange import Arrival, Job, Part, Parts, Report
from fedmpi.layout import LEVELS
from fedmpi.plan import Gates, Own, Plan
from fedmpi.registry import Registry
from fedmpi.rng import rng_for
from fedmpi.section import Section
from fedmpi.setting import Setting
from fedmpi.totals import FILLS, Fill, Pending, Sums, Total

ALGORITHMS = Registry("algorithm", "algorithm.name", "a subclass of fedmpi.Algorithm")
Narrowing: TypeAlias = Literal["", "alike", "apart"]
"""Rows that clients' networks lack: none, the same of layers of as many rows, or others."""


class Keys(Section):
    """The [algorithm] keys of a method; subclass it and declare each key with its type."""


class Algorithm(ABC):
    """A federated-learning method, called by the round loop and independent of ranks.

    State is a dict of arrays that includes "weights" (float32[P]). By default, a round ends with
    the mean of each unit over the clients that sent it (McMahan et al., AISTATS 2017,
    arXiv:1602.05629, and its partial forms). A method overrides the parts in which it differs.

    Attributes
    ----------
    keys, setting, layout :
        The [algorithm] keys, the Setting, and the Layout of the model.
    level, fill :
        For the sum of weights: the finest level of the supports that clients send, and the value
        that a coordinate has for a client that did not send it (totals.py).
    summed : tuple of str
        Parts of messages, besides the weights, whose mean over all clients `step` needs, at the
        level of coordinates. A coordinate that a client did not send counts as 0.
    base : str or None
        The entry of the state from which the "weights" of a message started; None if clients
        send changes.
    remembers, personal : bool
        True if clients keep memories between rounds, or if clients' models may differ from the
        global model. Only then `remember`, or `own`, is called.
    bits : bool
        True if the "weights" of a message are bits, which stages must not turn into other numbers.
    prunes : bool
        True if a step may change the weights even if no client reported.
    scheduled : bool
        True if a round depends on run.rounds. A run that is continued beyond the rounds planned
        for it then differs from an unbroken run, which is reported and recorded.
    sends_as_planned : bool
        True if clients send only "weights", on `plan.up`, so that plans give the bytes. Where it is
        False, `message` is also called with made-up reports, to predict bytes before clients have
        trained.
    shows_support : bool
        True if a step shows which coordinates clients sent, as zeros or as a mask. The server's
        noise does not hide this, so epsilon is infinite.
    knob : str
        The key whose value [devices] policy may reduce for a device, "" if there is none.
    torch_only : bool
        True if clients need operations that only the torch engine has.
    static_norm : bool
        True if an evaluation takes the statistics of normalisation from a pass over the training
        data, because clients keep none.
    remedy : str
        Advice for users if training diverges.
    """

    Keys: ClassVar[type[Section]] = Keys
    name: ClassVar[str] = ""
    level: str = "model"
    fill: Fill = "mean"
    summed: tuple[str, ...] = ()
    base: str | None = "weights"
    remembers: bool = False
    personal: bool = False
    bits: bool = False
    prunes: bool = False
    scheduled: bool = False
    sends_as_planned: bool = False
    shows_support: bool = False
    knob: ClassVar[str] = ""
    torch_only: bool = False
    static_norm: bool = False
    remedy: str = "lower optimizer.lr"

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ALGORITHMS.admit(cls, name)

    def __init__(self, keys: Any, setting: Setting) -> None:
        self.keys, self.setting, self.layout = keys, setting, setting.layout

    def memory(self, client: int) -> Memory:
        """Return the memory of `client`, a dict of arrays, empty before its first round."""
        return self.setting.memory(client)

    def accuracy(self, client: int, weights: Vector) -> float:
        """Return the share of a client's samples that float32[P] `weights` classify correctly.

        This takes no virtual time, and neither does `loss`.
        """
        return self._measured("accuracy")(client, weights)

    def loss(self, client: int, weights: Vector) -> float:
        """Return the mean loss of float32[P] `weights` on a client's samples, without training."""
        return self._measured("loss")(client, weights)

    def _measured(self, name: str) -> Callable[[int, Vector], float]:
        """Return the function `name` of the setting; raise ConfigError if it is missing."""
        found: Callable[[int, Vector], float] | None = getattr(self.setting, name)
        if found is None:
            raise ConfigError(f"algorithm {self.name}: needs the {name} of clients, which its "
                              "setting lacks; run the method by fedmpi.run")
        return found

    @property
    def by_policy(self) -> bool:
        """True if [devices] policy sets the value of the knob for each client."""
        return self.setting.policy != "fixed"

    @classmethod
    def gates(cls, keys: Any) -> Gates | None:
        """Return the Gates with which the model is built, or None."""
        return None

    @classmethod
    def synchronous(cls, keys: Any) -> bool:
        """Return whether a step needs reports of its own round, which excludes mode "async"."""
        return False

    @classmethod
    def targets(cls, keys: Any) -> tuple[str, ...]:
        """Return the kinds of targets with which the method works (learn/losses.py)."""
        return ("class", "tokens", "labels", "numbers")

    def rng_for(self, purpose: str, round: int, client: int = 0) -> np.random.Generator:
        """Return this run's random stream for a purpose, a round and a client."""
        return rng_for(self.setting.seed, purpose, round, client)

    def start(self, weights: Vector) -> State:
        """Return the state at the start of round 0, given the initial weights float32[P]."""
        return {"weights": weights}

    @abstractmethod
    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return the Plan of one client in one round."""

    def load(self, round: int, client: int) -> float:
        """Return the predicted work of a client's round, relative to training the whole model."""
        return 1.0

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the parts of the client's message, "weights" among them; runs on the client."""
        return {"weights": Part(report.weights, job.plan.up)}

    def remember(
        self, job: Job, report: Report, message: Parts, arrival: Arrival
    ) -> Memory | None:
        """Return the client's memory for its next round, or None to keep its present memory.

        This runs on the client. `message` is the result of the method `message`, and `arrival` is
        what the server received.
        """
        return None

    def own(self, state: State, client: int) -> Own | None:
        """Return a client's Own model at the end of a round, or None if it is the global model.

        Its shared parts are taken from `state`, as if the client had just received them.
        """
        return None

    def allow_sparse(self, why: str) -> None:
        """Allow messages without some coordinates, which then count as unchanged.

        Raises ConfigError, with `why`, unless clients send whole models or changes, because the
        supports of other methods have a meaning of their own.
        """
        if self.base is None and (self.level == "model" or self.fill == "zero"):
            self.level, self.fill = "coordinate", "zero"
        elif self.base is not None and self.level == "model" and self.fill == "mean":
            self.level, self.fill = "coordinate", "old"
        else:
            raise ConfigError(
                f"{why}: leaves out coordinates, as clients of {self.name} do already; use it "
                "with a method whose clients send whole models, such as fedavg"
            )

    def total(self) -> Total:
        """Return an empty sum over models, at this method's level and with its fill."""
        returned.one_of(self, "level", LEVELS)
        returned.one_of(self, "fill", FILLS)
        return Total(self.layout, self.level, self.fill, self.setting.exact)

    def zero(self) -> Sums:
        """Return the empty sums of a round, a dict of Total."""
        sums = {"weights": self.total()}
        for name in self.summed:
            sums[name] = Total(self.layout, "coordinate", "zero", self.setting.exact)
        return sums

    def add(self, sums: Mapping[str, Pending], arrival: Arrival) -> None:
        """Add the arrival of one client to the sums of its rank, in place.

        The arrays of `arrival` must not be changed, since the sums read them after this method.
        """
        for name in ("weights", *self.summed):
            if name in arrival.parts:
                values, support, *_ = arrival.parts[name]
                sums[name].add(values, arrival.share, support)

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Return the next state, given the sums over all clients; runs alike on every rank.

        The arrays of `state` must not be changed, since clients at work may have begun from them.
        """
        return {**state, "weights": sums["weights"].mean(state["weights"])}

    @property
    def narrows(self) -> Narrowing:
        """Says if clients may train the network without some rows of its layers (Plan.submodel).

        "alike": layers of as many rows lose the same; "apart": each loses others. A model that
        does not run without them, or computes something else, is refused before the first round.
        """
        return ""

    def kept(self, state: State) -> Flags | None:
        """Return uint8[P], 0 where the global model is pruned, or None if it is not pruned."""
        return state.get("mask")

    def density(self, state: State) -> float:
        """Return the share of the global model's coordinates that are not pruned."""
        kept = self.kept(state)
        return 1.0 if kept is None else float(kept.mean())
