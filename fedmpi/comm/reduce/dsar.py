"""Each rank adds up one range of all lists; the finished ranges are gathered densely.

This is dynamic sparse allreduce (Renggli et al., SparCML, SC 2019): a sparse first half followed
by the second half of a dense Allreduce. Cost: P-1 messages with a P-th of a list each, then
(P-1)/P n values. On the link it is at most twice as fast as the dense sum.
"""

from math import log2

from fedmpi.comm.reduce.cost import Cost
from fedmpi.comm.reduce.forecast import Forecast
from fedmpi.comm.reduce.link import Link
from fedmpi.comm.reduce.packed import PackedField
from fedmpi.comm.reduce.split import scatter, scatter_seconds


def reduce(link: Link, field: PackedField, plan: Forecast) -> None:
    """Add up `field` over the ranks, in place."""
    bounds = scatter(link, field, plan)
    link.allgather_ranges(field.total, bounds)
    if field.flat:
        link.allgather_ranges(field.cover, bounds)
        field.unite(link)


def seconds(cost: Cost, plan: Forecast) -> float:
    """Return the modelled time."""
    size = plan.size * (plan.per_value + plan.per_weight * plan.flat)
    return scatter_seconds(cost, plan) + 2 * log2(plan.ranks) * cost.alpha + size * cost.gather
