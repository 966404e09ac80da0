"""Sparse training: static masks, PruneFL, FedDST and LotteryFL. Weights outside a mask are 0."""

import math

import torch
from torch.func import functional_call
from torch.nn import functional

from tests.twins.net import Mean, erk, largest, largest_inside, random_mask, train


def local(trial, round, client, start, mask):
    """Train under a mask: weights outside it are 0 and stay so."""
    gradient, start = trial.net.gradient, start * mask
    own, _ = train(trial, round, client, start, lambda v, x, y: gradient(v, x, y, mask), mask)
    return own


def static_mask(trial):
    """SNIP's, a random or the magnitudes' mask, then federated averaging."""
    net, keys = trial.net, trial.keys
    names, w, mask, first = net.prunable(), net.first, net.ones(), 0
    if keys["mask"] in ("snip", "grasp"):
        score = measured(trial)
        score -= score[net.inside(names)].min()
        mask, first = largest_inside(net, names, score, keys["sparsity"]), 1
    elif keys["mask"] == "synflow":
        mask = synflow(net, names, w, keys["sparsity"])
    elif keys["mask"] == "magnitude":
        mask = largest_inside(net, names, w, keys["sparsity"])
    else:
        density = 1 - keys["sparsity"]
        of = erk(net, names, density) if keys["mask"] == "erk" else [density] * len(names)
        mask = random_mask(net, names, of, trial.rng("static-mask"))
    w = w * mask
    if keys["rescale"]:
        for block in (net.place[name] for name in names):
            w[block] /= mask[block].double().mean() ** 0.5
    for round in range(first, trial.rounds):
        total = torch.zeros_like(w)
        for client, share in trial.cohort(round):
            total += share * local(trial, round, client, w, mask)
            trial.sends(round, down=mask, up=mask)
        w = total
    return w


def measured(trial):
    """Return the mean over round 0's cohort of a score of some batches of each.

    SNIP: |w dL/dw| (Lee et al. 2019). GraSP: w (H g), g the gradient of the weights that may be
    pruned (Wang et al. 2020).
    """
    net, keys, total = trial.net, trial.keys, torch.zeros_like(trial.net.first)
    for client, share in trial.cohort(0):
        x, y = trial.data(client)
        taken = trial.rng("probe", 0, client).permutation(len(y))
        size = trial.config.clients.batch_size
        ends = range(0, min(len(taken), size * keys["batches"]), size)
        batches = [taken[at : at + size] for at in ends]

        leaf, count = net.first.clone().requires_grad_(), sum(map(len, batches))
        errors = [len(b) / count * error_at(net, leaf, x[b], y[b]) for b in batches]
        (g,) = torch.autograd.grad(sum(errors), leaf, create_graph=True)
        score = (net.first * g).abs().detach()
        if keys["mask"] == "grasp":
            along = g.detach() * net.inside(net.prunable())
            score = net.first * torch.autograd.grad(g @ along, leaf)[0]
        total += share * score
        trial.sends(0, down=net.size, up=net.size)
    return total


def error_at(net, w, x, y):
    """Return the mean cross-entropy at w as in training, which can be differentiated twice."""
    views = {n: v if net.trained[net.place[n]].all() else v.detach().clone()
             for n, v in net.views(w).items()}  # fmt: skip
    return functional.cross_entropy(functional_call(net.module, views, x), y)


def synflow(net, names, w, sparsity):
    """Prune 100 times by |w| dR/d|w|, R the sum of outputs for an input of ones (Tanaka 2020)."""
    inside, mask = net.inside(names), net.ones()
    for step in range(1, 101):
        leaf = (w * mask).abs().requires_grad_()
        net.module.eval()
        views = {n: v if net.trained[net.place[n]].all() else v.detach()
                 for n, v in net.views(leaf).items()}  # fmt: skip
        out = functional_call(net.module, views, torch.ones(1, 1, 8, 8, dtype=w.dtype))
        net.module.train()
        score = (leaf * torch.autograd.grad(out.sum(), leaf)[0]).detach()[inside]
        kept = (1 - sparsity) ** (step / 100) * len(score)
        mask[inside] = largest(score, math.ceil(kept) if step < 100 else round(kept))
    return mask


def prunefl(trial):
    """Take the weights that learn most in a second of a round (Jiang et al. 2022, algorithm 2)."""
    net, w, mask = trial.net, trial.net.first, trial.net.ones()
    sizes, added, authors = set(), {}, trial.keys["variant"] == "authors"
    for round in range(trial.rounds):
        total, z = torch.zeros_like(w), torch.zeros_like(w)
        adapts = round > 0 and round % trial.keys["every"] == 0
        for client, share in trial.cohort(round):
            squares, summed = torch.zeros_like(w), torch.zeros_like(w)

            def gradient(v, x, y, mask=mask, squares=squares, summed=summed):
                g = net.gradient(v, x, y, mask)
                squares += g**2
                summed += g
                return g

            own, _ = train(trial, round, client, w, gradient, mask)
            total += share * own
            added[client] = added.get(client, 0) + summed**2
            z += share * (added[client] if authors else squares)
            trial.sends(round, down=mask, up=mask.sum().item() + net.size * adapts)
        if adapts:
            mask, added = adapted(trial, total, mask, z, round), {}
        sizes.add(int(mask.sum()))
        w = total * mask
    assert len(sizes) > 1, "the mask never changed its size"
    return w


def adapted(trial, w, mask, z, round):
    """Free the smallest weights, then add while z_j / t_j > sum of z / time of the round."""
    net, keys = trial.net, trial.keys
    inside = net.inside(net.prunable())
    # A weight of a convolution is used at every output position, 64 and 4 of them.
    uses = torch.ones(net.size, dtype=torch.float64)
    for layer, positions in (("conv1", 64), ("bn1", 64), ("conv2", 4)):
        uses[net.inside(n for n in net.shapes if n.startswith(layer))] = positions
    t = keys["exchange"] + keys["compute"] * uses
    for layer, seconds in zip(("conv1", "conv2", "fc1", "fc2"), keys["seconds"], strict=False):
        t[net.inside(n for n in net.shapes if n.startswith(layer))] = seconds
    share, new = keys["free"] * 0.5 ** (round / keys["halving"]), mask.clone()
    if keys["variant"] == "authors":
        new = smaller(net, w, mask, share)
    else:
        used = (inside & mask).nonzero().flatten()
        new[used[~largest(w[used], len(used) - int(share * len(used)))]] = False
    counts = new & inside if keys["variant"] == "released" else new
    gained, time = z[counts].sum(), keys["constant"] + t[inside & new].sum()
    rank = z if keys["variant"] == "released" else z / t
    for j in sorted((inside & ~new).nonzero().flatten().tolist(), key=lambda j: -rank[j]):
        margin = z[j] / t[j] / (gained / time) - 1
        assert abs(margin) > 1e-5, "a weight is hardly worth its time or hardly not"
        if margin < 0:
            break
        new[j] = True
        gained, time = gained + z[j], time + t[j]
    return new


def feddst(trial):
    """Clients move a small part of the mask now and then (Bibikar et al. 2022)."""
    net, keys = trial.net, trial.keys
    names = net.prunable()
    mask = random_mask(net, names, erk(net, names, 1 - keys["sparsity"]), trial.rng("feddst"))
    w, moved, last = net.first * mask, 0, keys["until"] * trial.rounds
    for round in range(trial.rounds):
        mean, adjusts = Mean(net), 0 < round < last and round % keys["every"] == 0
        alpha = keys["alpha"] / 2 * (1 + math.cos(math.pi * round / last))
        alpha *= keys["alpha"] if keys["variant"] == "released" else 1
        votes = torch.zeros_like(mask)
        for client, share in trial.cohort(round):
            if adjusts:
                own, own_mask = adjusting(trial, round, client, w, mask, alpha)
            else:
                own, own_mask = local(trial, round, client, w, mask), mask
            mean.add(own, share, own_mask)
            votes |= own_mask
            trial.sends(round, down=mask, up=own_mask)
        w = mean.over(w)
        if adjusts:
            old, mask = mask, mask.clone()
            for block in (net.place[name] for name in names):
                voted = block.start + votes[block].nonzero().flatten()
                mask[block] = False
                mask[voted] = largest(w[voted], int(old[block].sum()))
            moved += int((mask & ~old).sum())
            w = w * mask
    assert moved, "no weight has grown"
    return w


def adjusting(trial, round, client, w, mask, alpha):
    """Train; the first gradient replaces a share alpha of each tensor's mask. Return both."""
    net, now = trial.net, mask.clone()
    seen = []

    def gradient(v, x, y):
        g = net.gradient(v, x, y, now)
        if not seen:
            for block in (net.place[name] for name in net.prunable()):
                alive = block.start + mask[block].nonzero().flatten()
                pruned = block.start + (~mask[block]).nonzero().flatten()
                number = min(rounded(alpha * len(alive)), len(pruned))
                now[alive] = largest(v[alive], len(alive) - number)
                now[pruned] = largest(g[pruned], number)
            v[now != mask] = 0
        seen.append(len(y))
        return g

    own, _ = train(trial, round, client, w * mask, gradient, lambda v, g: now)
    return own, now


rounded = round  # where `round` is the number of a round


def lotteryfl(trial):
    """Every client prunes its own ticket and rewinds it (Li et al. 2021)."""
    net, w, keys = trial.net, trial.net.first, trial.keys
    inside, tickets, pruned = net.inside(net.prunable()), {}, 0
    for round in range(trial.rounds):
        mean = Mean(net)
        for client, share in trial.cohort(round):
            mask = held = tickets.get(client, net.ones())
            start, left = w * mask, mask[inside].double().mean()
            good = net.accuracy(start, *trial.data(client)) > keys["accuracy"]
            new = smaller(net, start, mask, keys["rate"])
            if good and left > keys["target"] and (new != mask).any():
                mask, pruned, start = new, pruned + 1, net.first * new
            tickets[client] = mask
            mean.add(local(trial, round, client, start, mask), share, mask)
            trial.sends(round, down=held, up=mask)
        w = mean.over(w)
    assert pruned > 2, "hardly anybody pruned"
    return w


def smaller(net, w, mask, rate):
    """Return the mask without the share `rate` of the smallest weights left in each tensor."""
    new = mask.clone()
    for block in (net.place[name] for name in net.prunable()):
        alive = block.start + mask[block].nonzero().flatten()
        new[alive] = largest(w[alive], len(alive) - round(rate * len(alive)))
    return new
