"""The values that a rank, an engine and the server pass to each other in the visit of one client.

    plan -> Job -> Engine.train -> Report -> message -> stages -> encode, decode -> Arrival -> add

All values are frozen: each step returns a new value and leaves its arguments unchanged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from fedmpi.arrays import State, Vector
from fedmpi.errors import ClientError, FedmpiError
from fedmpi.layout import Support
from fedmpi.plan import Plan

Wanted = TypeVar("Wanted")
CLIENT_FAULTS = (ClientError, ArithmeticError, np.linalg.LinAlgError)
"""Errors that a client's numbers can cause, and that therefore occur on any number of ranks. Every
other error is a fault of a program or of this machine, and ends the run."""


@dataclass(frozen=True, eq=False)
class Job:
    """One client's work in one round, as a rank passes it to an engine.

    Attributes
    ----------
    client, round : int
        `round` is the round in which the client began; in asynchronous runs it may be an earlier
        round.
    state : dict of arrays
        The algorithm's state from which the client began; "weights" are the server's weights.
    plan : Plan
    share : float
        The client's weight in the round; the shares of a cohort add up to one.
    """

    client: int
    round: int
    state: State
    plan: Plan
    share: float


@dataclass(frozen=True, eq=False)
class Report:
    """The result of a client's training, which stays on the client's side.

    Attributes
    ----------
    client : int
    samples : int
        Number of samples in the client's data.
    seen : int
        Number of samples trained on, with repetitions.
    steps : int
        Number of optimiser steps.
    loss : float
        Mean loss over the samples seen; 0 if there were none.
    weights : float32[P]
        Weights after training, in the coordinates of the whole model.
    lr : float
        The learning rate that was used.
    probed : int
        Number of samples whose gradient was measured without training on them.
    private : float32[n], optional
        The private end of a Submodel.
    statistics : dict
        The statistics that the plan asks for:

        activations : list of float64[rows], by layer
            Sum of |raw output| over samples, space and steps.
        relevance : list of float64[rows], by layer
            Sum over samples and steps of -z dL/dz, where z is the raw output. To first order, this
            is the rise of the loss if the row is removed (Mozer and Smolensky, NIPS 1988). For an
            embedding, whose rows are its entries, it is -w dL/dw over a row, which means the same.
            Frozen weights and biases count in z. It is 0 for layers whose outputs have no rows:
            recurrent layers, attention, transposed convolutions and modules of unknown kind.
        columns : list of float64[inputs], by layer
            Sum over the client's samples of -x dL/dx at the weights received, where x is an input
            of the layer: the relevance of the unit or channel that produces it.
        squares : float32[P]
            Sum over the steps of the squared gradient.
        summed : float32[P]
            Sum over the steps of the gradient.
        mask : uint8[P]
            The mask after the readjustments.
        moved : bool[P]
            True for coordinates that a step may have moved.
        gradient : float32[P]
            The gradient of all coordinates after the last step, the mean over plan.probes
            batches.
        curvature : float32[P]
            H g, where H is the Hessian of the same batches at the same point, and g this gradient
            on the coordinates of the plan's `tensors` (all trained ones if it names none) that its
            `mask` holds, and 0 elsewhere.
    """

    client: int
    samples: int
    seen: int
    steps: int
    loss: float
    weights: Vector
    lr: float = 0.0
    probed: int = 0
    private: Vector | None = None
    statistics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A client whose training failed, and the reason; the server rejects it for the round."""

    client: int
    reason: str

    @classmethod
    def of(cls, job: Job, fault: Exception) -> "Failure":
        """Return the Failure of a job that one of the CLIENT_FAULTS aborted."""
        return cls(job.client, str(fault) or type(fault).__name__)


class Coding(NamedTuple):
    """The encoding of a part's values, if it is not that of the run.

    With the `value_type` "int8" or "int4", values are sent as integers times `scales` float32[T],
    the step of each tensor; the values of the part must already be whole numbers of steps. With
    "stream", values are sent in `bytes` bytes, scales included, and arrive unchanged. With "ones",
    every value is 1, so only the support is sent, in a bit for each coordinate or less.
    """

    value_type: str
    scales: Vector | None = None
    bytes: int = 0


class Part(NamedTuple):
    """A named part of a message: values on a support.

    Attributes
    ----------
    values : float32[P]
        Values outside the support are not sent, and are 0 after the part has arrived.
        Fewer numbers than P, such as a sketch, go into the first coordinates.
    support : Support
    bytes : int
        Size of the encoded part in bytes; 0 before it is encoded.
    coding : Coding, optional
    """

    values: Vector
    support: Support
    bytes: int = 0
    coding: Coding | None = None

    @property
    def bits(self) -> bool:
        """True if every value is 1, so that only the support is sent."""
        return self.coding is not None and self.coding.value_type == "ones"


def required(values: Wanted | None) -> Wanted:
    """Return an optional value of a Plan or Setting, such as a mask; raise FedmpiError if None."""
    if values is None:
        raise FedmpiError(
            "a part of a method's plan or of its setting is missing; give it, or run the method "
            "by fedmpi.run, which gives all parts of the setting"
        )
    return values


Parts: TypeAlias = Mapping[str, Part]
"""A message: its parts by name."""


@dataclass(frozen=True, eq=False)
class Arrival:
    """The data that the server received from one client, all that `Algorithm.add` may read.

    Attributes
    ----------
    client : int
    share : float
        The client's weight in the round.
    steps : int
        Number of the client's optimiser steps.
    loss : float
        The client's mean training loss.
    parts : dict of str to Part
        The parts of its message by name, as decoded.
    round : int
        The round in which the client began.
    """

    client: int
    share: float
    steps: int
    loss: float
    parts: Parts
    round: int = 0
