"""Clients' own masks: FIARSE, Sub-FedAvg and FedSpa; and ZeroFL's choice of uploads."""

import math

import torch

from tests.twins.masks import local, smaller
from tests.twins.net import Mean, erk, largest, largest_inside, random_mask, train


def fiarse(trial):
    """A client holds the largest weights, a share of its own (Wu et al. 2024)."""
    net, w, shares, seen = trial.net, trial.net.first, trial.keys["shares"], set()
    for round in range(trial.rounds):
        mean = Mean(net)
        for client, share in trial.cohort(round):
            held = shares[int(trial.rng("fiarse", 0, client).integers(len(shares)))]
            mask = largest_inside(net, net.prunable(), w, 1 - held)
            inside = mask & net.inside(net.prunable())
            least = w[inside].abs().min() if trial.keys["gradient"] == "importance" else 0.0

            def gradient(v, x, y, mask=mask, inside=inside, t=least * (held < 1)):
                stretched = 1 + 2 * t * v.abs() / (v.abs() + t + 1e-300) ** 2
                return net.gradient(v, x, y, mask) * torch.where(inside, stretched, 1.0)

            mean.add(train(trial, round, client, w * mask, gradient, mask)[0], share, mask)
            seen.add(held)
            trial.sends(round, down=mask, up=mask)
        w = mean.over(w)
    assert len(seen) == len(shares), "a share never took part"
    return w


def sub_fedavg(trial):
    """Clients prune what they trained, if it is good and the mask moves (Vahidian et al. 2021)."""
    net, w, keys, masks = trial.net, trial.net.first, trial.keys, {}
    inside, pruned, kept = net.inside(net.prunable()), 0, 0
    for round in range(trial.rounds):
        mean = Mean(net)
        for client, share in trial.cohort(round):
            mask = masks.get(client, net.ones())
            own, after = local(trial, round, client, w, mask), mask
            if mask[inside].double().mean() > keys["target"]:
                before, later = (smaller(net, v, mask, keys["rate"]) for v in (w * mask, own))
                blocks = [net.place[name] for name in net.prunable()]
                moved = sum((before != later)[b].double().mean() for b in blocks) / len(blocks)
                good = net.accuracy(own * later, *trial.data(client)) > keys["accuracy"]
                after = later if good and moved > keys["distance"] else mask
                pruned, kept = pruned + (after is later), kept + (after is mask)
            masks[client] = after
            mean.add(own, share, after)
            trial.sends(round, down=mask, up=after)
        w = mean.over(w)
    assert pruned > 2 and kept > 2, "hardly anybody pruned, or all did"
    return w


def zerofl(trial):
    """The largest weights or changes go up; others count as unchanged (Qiu et al. 2022)."""
    net, w, keys = trial.net, trial.net.first, trial.keys
    for round in range(trial.rounds):
        total = torch.zeros_like(w)
        for client, share in trial.cohort(round):
            own, _ = train(trial, round, client, w, net.gradient)
            ranked = own - w if keys["by"] == "difference" else own
            sent = largest_inside(net, net.prunable(), ranked, keys["sparsity"] - keys["more"])
            total += share * torch.where(sent, own, w)
            trial.sends(round, down=net.size, up=sent)
        w = total
    return w


def sparsyfed(trial):
    """Powers of parameters are trained, and the largest go up (Guastella et al. 2025)."""
    net, keys, beta = trial.net, trial.keys, trial.keys["beta"]
    inside, missing = net.inside(net.prunable()), 0

    def power(v, exponent):
        return torch.where(inside, v.sign() * v.abs() ** exponent, v)

    def gradient(v, x, y):
        point = power(v, beta)
        g = net.gradient(point, x, y)
        v[~net.trained] = point[~net.trained]
        return g * torch.where(inside, beta * v.abs() ** (beta - 1), 1.0)

    v = power(net.first, 1 / beta)
    for round in range(trial.rounds):
        total, alive = torch.zeros_like(v), (v != 0) | ~inside
        missing += int((~alive).sum())
        for client, share in trial.cohort(round):
            own, _ = train(trial, round, client, v, gradient)
            assert not own[~alive].any()
            sent = largest_inside(net, net.prunable(), own, keys["sparsity"])
            total += share * own * sent
            trial.sends(round, down=alive, up=sent)
        v = total
    assert missing, "no parameter is 0"
    return power(v, beta)


def fedspa(trial):
    """Personal masks that move after training by the gradient of a batch (Huang et al. 2022)."""
    net, w, keys = trial.net, trial.net.first, trial.keys
    names, masks, moved = net.prunable(), {}, 0
    for number in range(trial.rounds):
        change = torch.zeros_like(w)
        alpha = keys["alpha"] / 2 * (1 + math.cos(math.pi * number / trial.rounds))
        for client, share in trial.cohort(number):
            drawn = random_mask(
                net, names, erk(net, names, 1 - keys["sparsity"]), trial.rng("fedspa", 0, client)
            )
            mask = masks.get(client, drawn)
            own = local(trial, number, client, w, mask)
            change += share * (own - w * mask) * mask
            x, y = trial.data(client)
            batch = trial.rng("probe", number, client).permutation(len(y))
            batch = batch[: trial.config.clients.batch_size]
            g, masks[client] = net.gradient(own.clone(), x[batch], y[batch], mask), mask.clone()
            for block in (net.place[name] for name in names):
                alive = block.start + mask[block].nonzero().flatten()
                pruned = block.start + (~mask[block]).nonzero().flatten()
                count = min(round(alpha * len(alive)), len(pruned))
                masks[client][alive] = largest(own[alive], len(alive) - count)
                masks[client][pruned] = largest(g[pruned], count)
                moved += count
            trial.sends(number, down=mask, up=mask)
        w = w + change
    assert moved, "no mask has moved"
    return w
