"""What an algorithm of federated learning is: answers to the round loop, and a name to find it by.

    class FedAvg(Algorithm, name="fedavg"):
        def plan(self, state, round, client):
            everything = Support.all(self.layout)
            return Plan(down=everything, up=everything)

is a whole method. Each answer is a function of its arguments, the method's keys and its Setting.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedmpi.arrays import Bools, Flags, Memory, Reals, State, Vector
from fedmpi.errors import ConfigError
from fedmpi.exchange import Arrival, Job, Part, Parts, Report
from fedmpi.layout import Layout
from fedmpi.plan import Gates, Own, Plan
from fedmpi.registry import Registry
from fedmpi.rng import rng_for
from fedmpi.section import Section
from fedmpi.totals import Fill, Pending, Sums, Total

ALGORITHMS = Registry("algorithm", "algorithm.name", "a subclass of fedmpi.Algorithm")


class Keys(Section):
    """The [algorithm] keys of a method; subclass it and name each key with its type."""


def no_memory(client: int) -> Memory:
    """Return the memory of a client that keeps nothing."""
    return {}


Fit = Callable[[Sequence[float], int, Callable[[float], Plan]], float]
"""(values, client, plan_of) -> one of the values; see Setting."""


def most(values: Sequence[float], client: int, plan_of: Callable[[float], Plan]) -> float:
    """Return the largest value, whatever the client."""
    return values[-1]


def one_second(client: int, plan: Plan) -> float:
    """Return the seconds of a round whose device is not known."""
    return 1.0


def one_step(client: int) -> int:
    """Return the steps of a client of which nothing is known."""
    return 1


@dataclass(frozen=True, eq=False)
class Setting:
    """What an algorithm may know of the run that it serves.

    Attributes
    ----------
    rounds, clients : int
        run.rounds, and clients.number.
    exact : bool
        Whether sums over clients are exact.
    speed : float64[K]
        Each client's compute rate relative to the fastest, in (0, 1].
    optimizer : the run's [optimizer] section
    gates : callable, optional
        gates() is float64[L], the share of each layer's multiply-adds that the channel gates of
        the model leave, and gates(ratio) what those of another ratio would.
    policy : str
        Of [devices]: "fixed" if every client gets what the keys say.
    fit : callable
        fit(values, client, plan_of) is the one of ascending `values` of a knob that the policy
        gives a client; `plan_of` is the Plan for a value, of which a larger one costs more.
    steps : callable
        steps(client) is the number of the optimiser's steps in a client's whole round.
    seconds : callable
        seconds(client, plan) is the virtual time of a client's round as the cost model predicts it.
    memory : callable
        memory(client) is what `remember` returned last for a client, {} before its first round.
    accuracy : callable, optional
        accuracy(client, weights) is the share of a client's samples that float32[P] weights
        class right.
    labels : bool[K, classes], optional
        Which classes each client has samples of.
    flow : callable, optional
        flow(weights) is float64[P], the synaptic flow through each weight (learn/flow.py).
    """

    layout: Layout
    seed: int
    rounds: int
    clients: int
    exact: bool
    speed: Reals
    optimizer: Any = None
    gates: Callable[..., Reals] | None = None
    policy: str = "fixed"
    fit: Fit = most
    steps: Callable[[int], int] = one_step
    seconds: Callable[[int, Plan], float] = one_second
    memory: Callable[[int], Memory] = no_memory
    accuracy: Callable[[int, Vector], float] | None = None
    labels: Bools | None = None
    flow: Callable[[Vector], Reals] | None = None


class Algorithm(ABC):
    """A method, asked by the round loop; it knows nothing of ranks.

    State is a dict of arrays, "weights" (float32[P]) among them. As given here, a round ends
    with the mean of the clients' weights over the clients that sent each unit (McMahan et al.,
    AISTATS 2017, arXiv:1602.05629, and its partial forms); a method overrides what differs.

    Attributes
    ----------
    keys, setting, layout :
        The [algorithm] keys, the Setting, and the Layout of the model.
    level, fill :
        Of the sum of weights: the finest level of the supports that clients send, and what a
        coordinate counts as that a client did not send (totals.py).
    told : tuple of str
        Parts of messages beside the weights of which `step` wants the mean over all clients, at
        the level of coordinates; what a client did not send counts as 0.
    base : str or None
        The entry of the state that the "weights" of a message started from; None if clients
        send changes.
    remembers, personal : bool
        Whether clients keep anything between rounds, and whether some clients' models may
        differ from the global model: `remember` and `own` are asked only then.
    bits : bool
        Whether the "weights" of a message are bits, of which a stage may not make other numbers.
    prunes : bool
        Whether a step may change the weights though nobody reported.
    scheduled : bool
        Whether a round depends on run.rounds: then a run that is continued to more rounds than it
        was planned for is another than an unbroken run, which is told and kept.
    knob : str
        The key of which a device can be given less ([devices] policy), "" if there is none.
    torch_only : bool
        Whether clients do what the torch engine alone can do.
    static_norm : bool
        Whether an evaluation takes the statistics of normalisation from a pass over the training
        data, where nobody keeps any.
    remedy : str
        What to do if training diverges.
    """

    Keys: ClassVar[type[Section]] = Keys
    name: ClassVar[str] = ""
    level: str = "model"
    fill: Fill = "mean"
    told: tuple[str, ...] = ()
    base: str | None = "weights"
    remembers: bool = False
    personal: bool = False
    bits: bool = False
    prunes: bool = False
    scheduled: bool = False
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
        """Return what `client` keeps: a dict of arrays, empty before its first round."""
        return self.setting.memory(client)

    def accuracy(self, client: int, weights: Vector) -> float:
        """Return the share of a client's own samples that float32[P] `weights` class right."""
        if self.setting.accuracy is None:
            raise ConfigError(f"algorithm {self.name}: needs the clients' data, which are not here")
        return self.setting.accuracy(client, weights)

    @property
    def by_policy(self) -> bool:
        """True if [devices] policy says how much of the knob each client gets."""
        return self.setting.policy != "fixed"

    @classmethod
    def gates(cls, keys: Any) -> Gates | None:
        """Return the Gates that the model is to have, or None."""
        return None

    @classmethod
    def sends_as_planned(cls, keys: Any) -> bool:
        """Return whether `plan.up` and "weights" alone are sent, so that a plan tells the bytes."""
        return True

    @classmethod
    def together(cls, keys: Any) -> bool:
        """Return whether a step needs reports of its own round alone, so never asynchronous."""
        return False

    def rng_for(self, purpose: str, round: int, client: int = 0) -> np.random.Generator:
        """Return the random stream of this run for a purpose, a round and a client."""
        return rng_for(self.setting.seed, purpose, round, client)

    def start(self, weights: Vector) -> State:
        """Return the state of round 0, from the first weights float32[P]."""
        return {"weights": weights}

    @abstractmethod
    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return the Plan of one client in one round."""

    def load(self, round: int, client: int) -> float:
        """Return the predicted work of a client's round, as a share of that of a whole model."""
        return 1.0

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the parts of what the client sends, "weights" among them; runs on the client."""
        return {"weights": Part(report.weights, job.plan.up)}

    def remember(
        self, job: Job, report: Report, message: Parts, arrival: Arrival
    ) -> Memory | None:
        """Return what the client keeps until its next round, or None for nothing new.

        Runs on the client. `message` is what `message` returned, `arrival` what the server got.
        """
        return None

    def own(self, state: State, client: int) -> Own | None:
        """Return the Own model of a client at the end of a round, None if it is the global one.

        Its shared parts are those in `state`, as if every client had just received them.
        """
        return None

    def allow_sparse(self, why: str) -> None:
        """Let messages lack coordinates, which count as unchanged. Raises ConfigError.

        Possible where clients send whole models, or changes; not where supports have a meaning
        of their own.
        """
        if self.base is None and (self.level == "model" or self.fill == "zero"):
            self.level, self.fill = "coordinate", "zero"
        elif self.base is not None and self.level == "model" and self.fill == "mean":
            self.level, self.fill = "coordinate", "old"
        else:
            raise ConfigError(
                f"{why}: leaves out coordinates, and clients of {self.name} do so already; use "
                "it with a method whose clients send whole models, such as fedavg"
            )

    def total(self) -> Total:
        """Return an empty sum over models, at this method's level and with its fill."""
        return Total(self.layout, self.level, self.fill, self.setting.exact)

    def zero(self) -> Sums:
        """Return the sums of nobody: a dict of Total."""
        sums = {"weights": self.total()}
        for name in self.told:
            sums[name] = Total(self.layout, "coordinate", "zero", self.setting.exact)
        return sums

    def add(self, sums: Mapping[str, Pending], arrival: Arrival) -> None:
        """Add what arrived from one client to the sums of its rank, in place."""
        for name in ("weights", *self.told):
            if name in arrival.parts:
                values, support, *_ = arrival.parts[name]
                sums[name].add(values, arrival.share, support)

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Return the next state, from the sums over all clients; runs alike on every rank.

        The arrays of `state` must stay as they are: clients at work may have begun from them.
        """
        return {**state, "weights": sums["weights"].mean(state["weights"])}

    def kept(self, state: State) -> Flags | None:
        """Return uint8[P], 0 where the global model is pruned, or None if nothing is."""
        return state.get("mask")

    def density(self, state: State) -> float:
        """Return the part of the global model's coordinates that are not pruned."""
        kept = self.kept(state)
        return 1.0 if kept is None else float(kept.mean())
