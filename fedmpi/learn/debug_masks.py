"""The masks of the debug engine: how they are moved and drawn."""

from typing import Any

import torch
from torch import Tensor

from fedmpi.layout import Layout
from fedmpi.plan import Plan


def readjusted(
    layout: Layout, plan: Plan, old: Tensor, weights: Tensor, grad: Tensor, share: float,
    moved: Tensor,
) -> Tensor:
    """Return the mask float32[P] after a move: drop the smallest kept entries, grow others.

    `moved` float32[P] is the change of the weights since the start of training.
    """
    new, rank = old.clone(), grad if plan.grow is None else torch.tensor(plan.grow)
    tensors = [layout.tensors[number] for number in plan.tensors]
    places = [torch.arange(tensor.start, tensor.start + tensor.size) for tensor in tensors]
    kept, pruned = ([p[old[p] == there] for p in places] for there in (1, 0))
    going = [min(round(share * len(k)), len(p)) for k, p in zip(kept, pruned, strict=True)]
    coming = going
    if plan.reallocate:
        portions = [weights[k].double().abs().sum().item() / max(len(k), 1) for k in kept]
        coming = _in_turn(sum(going), portions, [len(p) for p in pruned])
    for k, p, fewer, more in zip(kept, pruned, going, coming, strict=True):
        small = k[weights[k].abs().argsort(stable=True)]
        large = p[rank[p].abs().argsort(descending=True, stable=True)]
        if plan.signs is not None:
            signs, (opposed, along) = torch.tensor(plan.signs), plan.portions
            small = _preferred(small, signs[small] * moved[small] < 0, round(opposed * fewer))
            large = _preferred(large, signs[large] * grad[large] < 0, round(along * more))
        new[small[:fewer]] = 0.0
        new[large[:more]] = 1.0
    return new


def _preferred(places: Tensor, first: Tensor, count: int) -> Tensor:
    """Return places reordered: `count` places marked in `first`, the unmarked, then the rest."""
    inside = places[first]
    return torch.cat((inside[:count], places[~first], inside[count:]))


def scores_point(
    plan: Plan, weights: Tensor, scored: Tensor, draws: Any
) -> tuple[Tensor, Tensor]:
    """scores: return the point of this step's gradient, and the factor of a score's gradient."""
    fixed, chance = torch.tensor(plan.scores), weights.double().sigmoid()
    there = torch.tensor(draws.numbers(len(weights))) < chance
    point = torch.where(scored, fixed * there, weights)
    slope = (fixed * chance * (1 - chance)).float()
    return point, torch.where(scored, slope, torch.ones(()))


def powered(plan: Plan, weights: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """power: return the weights float32[P] of parameters, and their slopes by autograd."""
    free = weights.clone().requires_grad_()
    raised = torch.where(inside, free.sign() * free.abs() ** plan.power, free)
    slope = torch.autograd.grad(raised.sum(), free)[0]
    return raised.detach(), slope


def _in_turn(total: int, portions: list[float], room: list[int]) -> list[int]:
    """Return `total` divided by `portions`; a part that exceeds its room goes to the others."""
    found, open_ = [0] * len(room), list(range(len(room)))
    while open_:
        left = total - sum(room[i] for i in range(len(room)) if i not in open_)
        some = any(portions[i] for i in open_)
        weights = [portions[i] if some else 1 for i in open_]
        exact = [max(left, 0) * weight / sum(weights) for weight in weights]
        over = [i for i, wanted in zip(open_, exact, strict=True) if wanted >= room[i]]
        if not over:
            fractions = sorted(range(len(open_)), key=lambda n: int(exact[n]) - exact[n])
            for n, wanted in enumerate(exact):
                found[open_[n]] = int(wanted)
            for n in fractions[: left - sum(map(int, exact))]:
                found[open_[n]] += 1
            return [n if i in open_ else room[i] for i, n in enumerate(found)]
        open_ = [i for i in open_ if i not in over]
    return room
