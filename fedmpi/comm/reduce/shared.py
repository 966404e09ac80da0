"""MPI's Allreduce of the packed values, without indices, if all ranks touch the same units.

The plan tells whether they do, by fingerprints of the marks. Cost: that of a dense sum of k
coordinates instead of n, plus the packing.
"""

from fedmpi import kernels
from fedmpi.comm.reduce.cost import Cost
from fedmpi.comm.reduce.forecast import Forecast
from fedmpi.comm.reduce.link import Link
from fedmpi.comm.reduce.message import listed, moving
from fedmpi.comm.reduce.packed import PackedField


def reduce(link: Link, field: PackedField, plan: Forecast) -> None:
    """Add up `field` over the ranks, in place."""
    cover = moving(field)
    if plan.union(1) == field.size:
        link.allreduce(field.total)
        link.allreduce(cover)
        return
    units, values, weights = listed(link, field, 0, field.size)
    link.allreduce(values)
    link.allreduce(weights)
    whole = field.total, cover, field.touched, field.starts, 0, field.size
    kernels.merge.add_list(*whole, units, values, weights, True)


def seconds(cost: Cost, plan: Forecast) -> float:
    """Return the modelled time; infinite if the supports differ."""
    if not plan.same:
        return float("inf")
    k = plan.union(1)
    local = 0 if k == plan.size else k * (cost.emit + cost.add) + plan.marks * cost.scan
    return local + cost.allreduce(k * (plan.per_value + plan.per_weight * plan.flat))
