"""FedDIP and DPF: the gradient at pruned weights moves the dense ones."""

from itertools import pairwise

import torch

from tests.twins.net import erk, largest_inside, random_mask, train


def feddip(trial):
    """Dynamic global pruning and a growing penalty (Long et al. 2023)."""
    net, w, keys = trial.net, trial.net.first, trial.keys
    names, mask, residual, masks = net.prunable(), net.ones(), {}, []
    for round in range(trial.rounds):
        total, strength = torch.zeros_like(w), penalty(keys, round, trial.rounds)
        for client, share in trial.cohort(round):
            own_mask, start = mask, w
            if round == 0:
                rng = trial.rng("feddip", 0, client)
                own_mask = random_mask(net, names, erk(net, names, 1 - keys["start"]), rng)
            elif keys["regrow"] == "feedback":
                start = w + residual.get(client, 0)
                start = torch.where(mask, w, start)
            own, _ = train(
                trial, round, client, start,
                lambda v, x, y, m=own_mask, s=strength: (
                    pruned(net, v, x, y, m, keys["norm"]) + s * norms(net, names, v * m)
                ),
            )  # fmt: skip
            residual[client] = own * ~own_mask
            sent = net.ones() if keys["upload"] == "dense" else own_mask
            total += share * own * sent
            trial.sends(round, down=net.ones() if round == 0 else mask, up=sent)
        if keys["regrow"] == "released":
            total = total * mask
        if round % keys["every"] == 0:
            share = sparsity(keys, round, trial.rounds)
            mask = largest_inside(net, names, total, share)
            masks.append(mask)
        w = total * mask
    # Only the released order can never bring a weight back.
    back = sum(int((new & ~old).sum()) for old, new in pairwise(masks))
    assert (back == 0) == (keys["regrow"] == "released" or keys["upload"] == "pruned")
    return w


def pruned(net, w, x, y, mask, norm):
    """Return the gradient at w * mask; running statistics in w follow that pass, or a dense one."""
    if norm == "masked":
        return net.gradient(w, x, y, mask)
    g = net.gradient(w.clone(), x, y, mask)
    net.gradient(w, x, y)
    return g


def sparsity(keys, round, rounds):
    """From start to end as a cubic, fast at first."""
    return keys["end"] + (keys["start"] - keys["end"]) * (1 - round / rounds) ** 3


def penalty(keys, round, rounds):
    """In step i = 1..Q of rounds / Q rounds: max (i - 1) / Q, or as the code was released."""
    most, steps = keys["penalty"], keys["steps"]
    i = 1 + int(round / rounds * steps)
    if keys["variant"] == "paper":
        return most * (i - 1) / steps
    return 0.0 if i == 1 else 5e-4 + (i - 2) * (most - 5e-4) / (steps - 1)


def norms(net, names, w):
    """Return the gradient of the sum of |w_l| over the tensors named, un-squared norms."""
    g = torch.zeros_like(w)
    for name in names:
        block = w[net.place[name]]
        g[net.place[name]] = block / block.norm()
    return g


def dpf(trial):
    """The server keeps the dense weights; the mask follows them (Lin et al. 2020)."""
    net, dense, keys = trial.net, trial.net.first, trial.keys
    mask = net.ones()
    for round in range(trial.rounds):
        total = torch.zeros_like(dense)
        for client, share in trial.cohort(round):
            own, _ = train(
                trial, round, client, dense, lambda v, x, y, m=mask: net.gradient(v, x, y, m)
            )
            total += share * own
            trial.sends(round, down=net.size, up=net.size)
        dense = total
        if round % keys["every"] == 0:
            share = sparsity(keys, round, trial.rounds)
            mask = largest_inside(net, net.prunable(), dense, share)
    return dense * mask
