"""Each rank adds up one range of all lists, and all ranks gather the finished ranges.

Cost: P-1 messages with a P-th of a list each, and an allgather of the union; in bytes
(P-1)/P (k + u). The ranges are chosen so that all ranks have about the same work.
"""

from math import log2

from fedmpi.arrays import Integers
from fedmpi.comm.reduce.cost import Cost
from fedmpi.comm.reduce.forecast import Forecast
from fedmpi.comm.reduce.link import Link
from fedmpi.comm.reduce.message import add, clear_negative_zeros, encode
from fedmpi.comm.reduce.packed import PackedField


def scatter(link: Link, field: PackedField, plan: Forecast) -> Integers:
    """Finish one range on each rank, in place; return the bounds of the ranges, int64[P+1]."""
    bounds = plan.bounds([1] * link.size)
    for step in range(1, link.size):
        target, source = (link.rank + step) % link.size, (link.rank - step) % link.size
        mine = encode(link, field, int(bounds[target]), int(bounds[target + 1]))
        add(link, field, link.swap(mine, target, source))
        link.step += 1
    return bounds


def reduce(link: Link, field: PackedField, plan: Forecast) -> None:
    """Add up `field` over the ranks, in place."""
    bounds = scatter(link, field, plan)
    lo, hi = (int(bound) for bound in bounds[link.rank : link.rank + 2])
    clear_negative_zeros(field, lo, hi)
    messages = link.allgather(encode(link, field, lo, hi))
    for rank, message in enumerate(messages):
        if rank != link.rank:
            add(link, field, message, fresh=True)  # a sum over all ranks, so it holds our units too


def scatter_seconds(cost: Cost, plan: Forecast) -> float:
    """Return the modelled time of `scatter`."""
    most = plan.most * (1 - 1 / plan.ranks)
    sent = cost.bytes(plan, most, plan.size)
    return (
        (plan.ranks - 1) * cost.alpha
        + sent * cost.beta
        + most * (cost.emit + cost.add)
        + plan.marks * cost.scan
    )


def seconds(cost: Cost, plan: Forecast) -> float:
    """Return the modelled time."""
    union = plan.union(plan.ranks)
    return (
        scatter_seconds(cost, plan)
        + 2 * log2(plan.ranks) * cost.alpha
        + cost.bytes(plan, union, plan.size) * cost.gather
        + union * (cost.emit / plan.ranks + cost.add)
        + plan.marks * cost.scan
    )
