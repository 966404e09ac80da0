"""MPI's own Allreduce on every coordinate; what everything else is measured against.

Cost: 2 log P messages, about 2 n (P-1)/P values per rank (Rabenseifner 2004).
"""


def reduce(link, field, plan):
    """Add up `field` over the ranks, in place."""
    link.allreduce(field.total)
    if field.flat:
        link.allreduce(field.cover)
        field.unite(link)


def seconds(cost, plan):
    """Return the modelled time."""
    return cost.allreduce(plan.size * (plan.per_value + plan.per_weight * plan.flat))
