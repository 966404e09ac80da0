"""MPI's own Allreduce of every coordinate; the baseline for the other algorithms.

Cost: 2 log P messages and about 2 n (P-1)/P values per rank (Rabenseifner 2004).
"""

from fedmpi.comm.reduce.cost import Cost
from fedmpi.comm.reduce.forecast import Forecast
from fedmpi.comm.reduce.link import Link
from fedmpi.comm.reduce.packed import PackedField


def reduce(link: Link, field: PackedField, plan: Forecast) -> None:
    """Add up `field` over the ranks, in place."""
    link.allreduce(field.total)
    if field.flat:
        link.allreduce(field.cover)
        field.unite(link)


def seconds(cost: Cost, plan: Forecast) -> float:
    """Return the modelled time."""
    return cost.allreduce(plan.size * (plan.per_value + plan.per_weight * plan.flat))
