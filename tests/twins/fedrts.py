"""FedRTS: masks are drawn from a Beta posterior of each weight."""

import math

import torch

from tests.twins.masks import local
from tests.twins.net import Mean, erk, largest


def fedrts(trial):
    """Thompson sampling of what stays (Huang et al. 2025)."""
    net, keys, mask = trial.net, trial.keys, trial.net.ones()
    names, last, moved = net.prunable(), keys["until"] * trial.rounds, 0
    for name, density in zip(names, erk(net, names, 1 - keys["sparsity"]), strict=True):
        block = net.place[name]
        mask[block] = largest(net.first[block], round(density * net.shapes[name].numel()))
    w, won, lost = net.first * mask, torch.ones_like(net.first), torch.ones_like(net.first)
    for number in range(trial.rounds):
        adjusts = number % keys["every"] == 0 and 0 < number <= last
        share = keys["alpha"] / 2 * (1 + math.cos(math.pi * min(number / last, 1)))
        mean, said, grown = Mean(net), torch.zeros_like(w), torch.zeros_like(w)
        for client, weight in trial.cohort(number):
            own = local(trial, number, client, w, mask)
            mean.add(own, weight, mask)
            said += weight * core(net, own, mask, share)
            if adjusts:
                grown += weight * wanted(trial, number, client, own, mask, share)
            trial.sends(number, down=mask, up=mask)
        w, old = mean.over(w), mask
        wins = (1 - keys["gamma"]) * core(net, w, mask, share) + keys["gamma"] * said
        told = mask
        if adjusts:
            wins = torch.where(mask, wins, (1 - keys["gamma"]) / 2 + keys["gamma"] * grown)
            told = net.ones()
        won = won + keys["trust"] * torch.where(told, wins, 0.0)
        lost = lost + keys["trust"] * torch.where(told, 1 - wins, 0.0)
        if adjusts:
            mask = mask.clone()
            drawn = trial.rng("fedrts", number).beta(won.numpy(), lost.numpy())
            for block in (net.place[name] for name in names):
                mask[block] = largest(torch.from_numpy(drawn)[block], int(old[block].sum()))
            moved += int((mask & ~old).sum())
        w = w * mask
    assert moved, "no weight has grown"
    return w


def core(net, w, mask, share):
    """Return 1 for the largest weights of each layer, without those in doubt."""
    found = torch.zeros_like(w)
    for block in (net.place[name] for name in net.prunable()):
        alive = block.start + mask[block].nonzero().flatten()
        doubtful = min(int(share * len(alive)), int((~mask[block]).sum()))
        found[alive] = largest(w[alive], len(alive) - doubtful).double()
    return found


def wanted(trial, number, client, own, mask, share):
    """Return 1 for the pruned weights of the largest gradients of a batch."""
    net, found = trial.net, torch.zeros_like(own)
    x, y = trial.data(client)
    batch = trial.rng("probe", number, client).permutation(len(y))
    batch = batch[: trial.config.clients.batch_size]
    g = net.gradient(own.clone(), x[batch], y[batch], mask)
    for block in (net.place[name] for name in net.prunable()):
        pruned = block.start + (~mask[block]).nonzero().flatten()
        doubtful = min(int(share * int(mask[block].sum())), len(pruned))
        found[pruned] = largest(g[pruned], doubtful).double()
    return found
