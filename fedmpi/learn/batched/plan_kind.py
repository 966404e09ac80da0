"""The kind of a plan: clients of one chunk share the operations, but not the numbers."""

from dataclasses import dataclass
from typing import cast

from fedmpi.learn.batched.one_pass import PassRequest
from fedmpi.plan import Plan, Submodel

_ALWAYS = ("scores", "salient", "readjust", "statistics.moved")


@dataclass(frozen=True)
class PlanKind:
    """The part of a Plan that is the same in all slots of a chunk.

    The operations of a step follow only from the PlanKind, so that a client's bits do not depend
    on the plans in the other slots.

    Attributes
    ----------
    submodel : Submodel or None
    asked : PassRequest
    mechanisms : frozenset of str
        As in Plan.
    held : bool
        Whether some weights may not move.
    statistics, tensors, by_row, salient
        As in Plan.
    """

    submodel: Submodel | None
    asked: PassRequest
    mechanisms: frozenset[str]
    held: bool
    statistics: tuple[str, ...]
    tensors: tuple[int, ...]
    by_row: bool
    salient: float


def kind_of(plan: Plan) -> PlanKind:
    """Return the PlanKind of a Plan."""
    back, names = plan.backward, plan.mechanisms
    by_rows, by_labels = back.rows is not None, plan.labels is not None
    asks = ("activations" in plan.statistics, by_labels, "relevance" in plan.statistics)
    held = plan.update is not None or not back.whole or any(name in names for name in _ALWAYS)
    return PlanKind(
        submodel=plan.submodel,
        # Plan.minimising has set the error.
        asked=PassRequest(cast(str, plan.error), back.lowest, by_rows, *asks),
        mechanisms=names,
        held=held,
        statistics=plan.statistics,
        tensors=plan.tensors,
        by_row=plan.by_row,
        salient=plan.salient,
    )
