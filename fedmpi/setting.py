"""The facts about a run that its method may use, and their defaults for tests and trials."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fedmpi.arrays import Bools, Memory, Reals, Vector
from fedmpi.layout import Layout
from fedmpi.plan import Plan


def no_memory(client: int) -> Memory:
    """Return an empty memory, for clients that keep nothing."""
    return {}


Fit = Callable[[Sequence[float], int, Callable[[float], Plan]], float]
"""(values, client, plan_of) -> one of the values; see Setting."""


def most(values: Sequence[float], client: int, plan_of: Callable[[float], Plan]) -> float:
    """Return the largest value, for every client."""
    return values[-1]


def one_second(client: int, plan: Plan) -> float:
    """Return 1, for clients whose device is not known."""
    return 1.0


def one_step(client: int) -> int:
    """Return 1, for clients whose data are not known."""
    return 1


@dataclass(frozen=True, eq=False)
class Setting:
    """The facts about a run that its algorithm may use.

    Attributes
    ----------
    rounds, clients : int
        run.rounds and clients.number.
    exact : bool
        True if sums over clients are exact.
    speed : float64[K]
        Each client's compute rate relative to the fastest, in (0, 1].
    optimizer : the run's [optimizer] section
    gates : callable, optional
        gates() returns float64[L], the share of each layer's multiply-adds that remains with the
        channel gates of the model. gates(ratio) returns the shares for another ratio.
    policy : str
        [devices] policy; "fixed" if the keys alone decide the work of every client.
    fit : callable
        fit(values, client, plan_of) returns the one of the ascending `values` of a knob that the
        policy chooses for a client. plan_of(value) is the Plan; a larger value costs more.
    steps : callable
        steps(client) returns the number of optimiser steps in a client's whole round.
    seconds : callable
        seconds(client, plan) returns the virtual seconds of a client's round by the cost model.
    memory : callable
        memory(client) returns the client's last memory from `remember`, {} before its first round.
    accuracy : callable, optional
        accuracy(client, weights) returns the share of a client's samples that float32[P] weights
        classify correctly.
    loss : callable, optional
        loss(client, weights) returns the mean loss of float32[P] weights on a client's samples.
    labels : bool[K, classes], optional
        True for each class, label or token among the targets of a client's samples; None if
        clients draw their samples, or if targets are numbers.
    flow : callable, optional
        flow(weights) returns float64[P], the synaptic flow through each weight (learn/flow.py).
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
    loss: Callable[[int, Vector], float] | None = None
    labels: Bools | None = None
    flow: Callable[[Vector], Reals] | None = None
