"""Every rank sends its list to every other rank, and adds up all lists.

Cost: 2 log P messages, the bytes of the other ranks' lists, and (P-1) k additions on each rank
(P k for floats). Hard to beat with few ranks or few touched coordinates.
"""

from math import log2

from fedmpi.comm.reduce.cost import Cost
from fedmpi.comm.reduce.forecast import Forecast
from fedmpi.comm.reduce.link import Link
from fedmpi.comm.reduce.message import add, drop, encode
from fedmpi.comm.reduce.packed import PackedField


def reduce(link: Link, field: PackedField, plan: Forecast) -> None:
    """Add up `field` over the ranks, in place.

    The sum of floats depends on their order. Every rank therefore adds the lists, its own among
    them, in rank order, so that the sums have the same bits on every rank.
    """
    messages = link.allgather(encode(link, field, 0, field.size))
    if not field.exact:
        drop(link, field, 0, field.size)
    for rank, message in enumerate(messages):
        if rank != link.rank or not field.exact:
            add(link, field, message)


def seconds(cost: Cost, plan: Forecast) -> float:
    """Return the modelled time."""
    added = plan.every * (1 - 1 / plan.ranks) if plan.exact else plan.every
    return (
        2 * log2(plan.ranks) * cost.alpha
        + cost.bytes(plan, plan.every, plan.ranks * plan.size) * cost.gather
        + plan.most * cost.emit
        + added * cost.add
        + plan.marks * cost.scan
    )
