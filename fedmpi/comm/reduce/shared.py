"""All ranks touch the same units: MPI's Allreduce of the packed values, no indices.

Which they do is known from the plan (fingerprints of the marks). Cost: that of dense
for k coordinates instead of n, and the packing.
"""

import numpy as np

from fedmpi import kernels


def reduce(wire, field, plan):
    """Add up `field` over the ranks, in place."""
    m, k = field.count()
    if k == field.size:
        wire.allreduce(field.total)
        if field.flat and field.cover.size:
            wire.allreduce(field.cover)
        return
    cover = field.cover if field.flat else field.cover[:0]
    units = wire.take("units", 4 * m).view(np.uint32)
    values = wire.take("values", k * field.total.itemsize).view(field.total.dtype)
    weights = wire.take("weights", m * cover.itemsize * (cover.size > 0)).view(cover.dtype)
    whole = field.total, cover, field.touched, field.starts, 0, field.size
    kernels.merge.emit(*whole, units, values, weights)
    wire.allreduce(values)
    if cover.size:
        wire.allreduce(weights)
    field.clear()
    kernels.merge.add_list(*whole, units, values, weights)


def seconds(cost, plan):
    """Return the modelled time; infinite if the supports differ."""
    if not plan.same:
        return float("inf")
    k = plan.union(1)
    local = 0 if k == plan.size else k * (cost.emit + cost.add) + plan.marks * cost.scan
    return local + cost.allreduce(k * (plan.per_value + plan.per_weight * plan.flat))
