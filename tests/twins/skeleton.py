"""Skeletonization: train, measure every unit's relevance, remove the least relevant one, again."""

import torch
from torch.func import functional_call

from tests.twins.net import MARGIN, train
from tests.twins.widths import SIZES, left

# Of a unit's layer: the weight that reads it, and how many inputs each of its units gives.
READERS = {"conv1": ("conv2.weight", 1), "conv2": ("fc1.weight", 4), "fc1": ("fc2.weight", 1)}


def skeletonization(trial):
    """One removal in every other round, as each one's error is below the bar (Mozer 1988)."""
    net, w, keys = trial.net, trial.net.first, trial.keys
    rows = {layer: torch.ones(size, dtype=torch.bool) for layer, size in SIZES.items()}
    relevance = {layer: torch.zeros(size, dtype=w.dtype) for layer, size in SIZES.items()}
    for round in range(trial.rounds):
        mask, alive = left(net, rows), 1 + sum(int(kept.sum()) for kept in rows.values())
        if round % 2 == 0:
            total = torch.zeros_like(w)
            for client, share in trial.cohort(round):
                own, _ = train(
                    trial, round, client, w * mask,
                    lambda v, x, y, m=mask: net.gradient(v, x, y, m),
                    mask,
                )  # fmt: skip
                total += share * own * mask
                trial.sends(round, down=mask, up=mask)
            w = total
            continue
        new = dict.fromkeys(SIZES, 0)
        for client, share in trial.cohort(round):
            x, y = trial.data(client)
            slope = sum(error_slope(net, w * mask, *part) for part in blocks(x, y))
            for layer, found in by_unit(net, w * mask * slope).items():
                new[layer] = new[layer] - share * found / len(y)
            trial.sends(round, down=mask, up=alive)
        for layer, kept in rows.items():
            smooth = keys["smoothing"] * relevance[layer] + (1 - keys["smoothing"]) * new[layer]
            relevance[layer] = torch.where(kept, smooth, 0)
        remove_least(rows, relevance)
        w = w * left(net, rows)
    assert sum(int((~kept).sum()) for kept in rows.values()) == trial.rounds // 2
    return w


def error_slope(net, w, x, y):
    """Return the gradient of sum |t - softmax| over the samples."""
    leaf = w.detach().clone().requires_grad_()
    views = {n: v if net.trained[net.place[n]].all() else v.detach().clone()
             for n, v in net.views(leaf).items()}  # fmt: skip
    out = functional_call(net.module, views, x).softmax(1)
    target = torch.nn.functional.one_hot(y, out.shape[1])
    return torch.autograd.grad((target - out).abs().sum(), leaf)[0]


def blocks(x, y):
    return zip(x.split(500), y.split(500), strict=True)


def by_unit(net, values):
    """Return for each layer the sum of `values` over the weights that read each of its units."""
    found = {}
    for layer, (reader, each) in READERS.items():
        grid = net.views(values)[reader]
        columns = grid.reshape(grid.shape[0], grid.shape[1], -1).sum((0, 2))
        found[layer] = columns.reshape(-1, each).sum(1)
    return found


def remove_least(rows, relevance):
    """Remove the unit of least |relevance|, in place; never the last of a layer."""
    free = [
        (relevance[layer][row].abs().item(), layer, row)
        for layer, kept in rows.items()
        for row in kept.nonzero().flatten().tolist()
        if kept.sum() > 1
    ]
    (first, layer, row), (second, *_) = sorted(free)[:2]
    assert second - first > MARGIN * second, "two units are almost alike; change the seed"
    rows[layer][row] = False
