"""What a rank, an engine and the server hand to each other in the visit of one client.

    plan -> Job -> Engine.train -> Report -> message -> stages -> encode, decode -> Arrival -> add

All of it is frozen: each step returns a new value and changes nothing that it was given.
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
"""What numbers can bring about on one client, and so the same for any number of ranks. Anything
else is a fault of a program or of this machine, and ends the run."""


@dataclass(frozen=True, eq=False)
class Job:
    """One client's work in one round, as a rank hands it to an engine.

    Attributes
    ----------
    client, round : int
        `round` is that in which the client began; in asynchronous runs it may be an earlier one.
    state : dict of arrays
        The algorithm's state that the client began from; "weights" are those of the server.
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
    """What training gave; it stays on the client's side.

    Attributes
    ----------
    client : int
    samples : int
        In the client's data.
    seen : int
        Samples trained on; a sample counts once for each time.
    steps : int
        Steps of the optimiser.
    loss : float
        Mean over the samples seen; 0 if there were none.
    weights : float32[P]
        After training, in the coordinates of the whole model.
    lr : float
        The learning rate that was used.
    probed : int
        Samples whose gradient was measured and not trained on.
    private : float32[n], optional
        The private end of a Submodel.
    statistics : dict
        What the plan asked for:

        activations : list of float64[rows], by layer
            Sum of |raw output| over samples, space and steps.
        relevance : list of float64[rows], by layer
            Sum over samples and steps of -z dL/dz, z the raw output: to first order, by how
            much the loss rises if the row is removed (Mozer and Smolensky, NIPS 1988). Of an
            embedding, whose rows are its entries, -w dL/dw over a row, which means the same.
            Frozen weights and biases count in z. 0 where outputs have no rows: for recurrent
            layers, attention, transposed convolutions and modules of unknown kind.
        columns : list of float64[inputs], by layer
            Of the weights received: sum over the client's samples of -x dL/dx, x an input of
            the layer, so the relevance of the unit or channel that gives it.
        squares : float32[P]
            Sum over the steps of the squared gradient.
        summed : float32[P]
            Sum over the steps of the gradient.
        mask : uint8[P]
            The mask after it was readjusted.
        moved : bool[P]
            What a step may have moved.
        gradient : float32[P]
            The gradient after the last step, of all coordinates: the mean over plan.probes
            batches.
        curvature : float32[P]
            H g, H the Hessian of the same batches where the gradient is taken, and g this
            gradient; of g those coordinates that are in the plan's `tensors`, if it names any,
            and that its `mask` holds.
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
    """A client whose training broke off, and why; the server rejects it for the round."""

    client: int
    reason: str


class Coding(NamedTuple):
    """How the values of a part travel, where it is not the run's way: integers times scales.

    `value_type` is "int8" or "int4", `scales` float32[T] the step of each tensor. The values of
    the part are whole numbers of steps already. "stream": as `bytes` bytes, scales included, from
    which the values come back as they are. "ones": every value sent is 1, so that only the
    support travels, a bit for each coordinate or less.
    """

    value_type: str
    scales: Vector | None = None
    bytes: int = 0


class Part(NamedTuple):
    """A named part of a message: values on a support.

    Attributes
    ----------
    values : float32[P]
        Outside the support they are not sent; where they have arrived they are 0.
    support : Support
    bytes : int
        Size of the encoded part; 0 before it is encoded.
    coding : Coding, optional
    """

    values: Vector
    support: Support
    bytes: int = 0
    coding: Coding | None = None


def required(values: Wanted | None) -> Wanted:
    """Return what a Plan or a Setting has, such as a mask. Raises FedmpiError if it has none."""
    if values is None:
        raise FedmpiError(
            "a method misses a part of its own plan, or of its setting; give it, or run the "
            "method by fedmpi.run, which gives all of it"
        )
    return values


Parts: TypeAlias = Mapping[str, Part]
"""A message: its parts by name."""


@dataclass(frozen=True, eq=False)
class Arrival:
    """What the server received of one client: all that `Algorithm.add` may read.

    Attributes
    ----------
    client : int
    share : float
        The client's weight in the round.
    steps : int
        Steps of its optimiser.
    loss : float
        Its mean training loss.
    parts : dict of str to Part
        The parts of its message by name, as decoded.
    round : int
        That in which the client began.
    """

    client: int
    share: float
    steps: int
    loss: float
    parts: Parts
    round: int = 0
