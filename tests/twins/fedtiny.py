"""FedTiny and FedMef: a choice among pruned candidates, then masks that move layer by layer."""

import math

import torch

from tests.twins.masks import local
from tests.twins.net import MARGIN, Mean, largest, train


def fedtiny(trial):
    """Clients choose a mask, and layers move it in turn (Huang et al. 2023)."""
    net, keys = trial.net, trial.keys
    w, mask, chosen = choice(trial, [candidate(trial, c) for c in range(keys["candidates"])])
    last, moved = keys["until"] * trial.rounds, 0
    for number in range(chosen + 1, trial.rounds):
        mean, told = Mean(net), torch.zeros_like(w)
        moves = number % keys["every"] == 0 and 0 < number <= last
        layers = moving(net, mask, keys, number, last) if moves else []
        for client, weight in trial.cohort(number):
            own = extruded(trial, number, client, w, mask, number / last)
            mean.add(own, weight, mask)
            sent = torch.zeros_like(mask)
            if moves:
                x, y = trial.data(client)
                batch = trial.rng("probe", number, client).permutation(len(y))
                batch = batch[: trial.config.clients.batch_size]
                g = net.gradient(own.clone(), x[batch], y[batch], mask)
                for _, pruned, count in layers:
                    sent[pruned] = largest(g[pruned], count)
                told += weight * g * sent
            trial.sends(number, down=mask, up=int(mask.sum() + sent.sum()))
        w, mask = mean.over(w), mask.clone()
        for alive, pruned, count in layers:
            mask[alive] = largest(w[alive], len(alive) - count)
            mask[pruned] = largest(told[pruned], count)
            moved += count
        w = w * mask
    assert moved, "no weight has grown"
    return w


def moving(net, mask, keys, number, last):
    """Return (kept places, pruned places, how many move) of each layer that moves its mask."""
    names, found = net.prunable(), []
    if keys["layers"] == "turn":
        names = [names[-1 - (number // keys["every"] - 1) % len(names)]]
    for block in (net.place[name] for name in names):
        alive = block.start + mask[block].nonzero().flatten()
        pruned = block.start + (~mask[block]).nonzero().flatten()
        share = keys["alpha"] / 2 * (1 + math.cos(math.pi * number / last))
        found.append((alive, pruned, min(round(share * len(alive)), len(pruned))))
    return found


def extruded(trial, number, client, w, mask, time):
    """Train under a mask; FedMef adds the norms of each layer's smallest weights to the loss."""
    net, keys = trial.net, trial.keys
    if not keys.get("penalty") or time >= 1:
        return local(trial, number, client, w, mask)
    low, share = torch.zeros_like(mask), keys["extruded"] / 2 * (1 + math.cos(math.pi * time))
    for block in (net.place[name] for name in net.prunable()):
        alive = block.start + mask[block].nonzero().flatten()
        low[alive] = ~largest(w[alive], len(alive) - int(share * len(alive)))

    def gradient(v, x, y):
        g = net.gradient(v, x, y, mask)
        for block in (net.place[name] for name in net.prunable()):
            small = v[block] * low[block]
            g[block] += keys["penalty"] * small / small.norm().clamp(min=1e-30)
        return g

    return train(trial, number, client, w * mask, gradient, mask)[0]


def candidate(trial, c):
    """Return the mask of a candidate."""
    net, rng, keys = trial.net, trial.rng("candidates", 0, c), trial.keys
    names, mask = net.prunable(), net.ones()
    drawn = [2 * float(u) - 1 for u in rng.random(len(names))]
    wanted = [1 + keys["noise"] * u * (c > 0) for u in drawn]
    sizes = [net.shapes[name].numel() for name in names]
    whole = sum(n * size for n, size in zip(wanted, sizes, strict=True))
    for name, n, size in zip(names, wanted, sizes, strict=True):
        density = n * (1 - keys["sparsity"]) * sum(sizes) / whole
        assert density < 1, "a layer is whole; choose a larger sparsity"
        mask[net.place[name]] = largest(net.first[net.place[name]], round(density * size))
    return mask


def choice(trial, masks):
    """Return (weights, mask, round of the choice): the candidate of the best mean accuracy."""
    net, models, right = trial.net, [], [0.0] * len(masks)
    if len(masks) == 1:
        return net.first * masks[0], masks[0], -1
    for c, mask in enumerate(masks):
        mean, start = Mean(net), net.first * mask
        for client, share in trial.cohort(c):
            def gradient(v, x, y, mask=mask):
                return net.gradient(v, x, y, mask)

            own, _ = train(trial, c, client, start, gradient, ~net.ones())
            mean.add(own, share, ~net.trained)
            trial.sends(c, down=mask, up=~net.trained)
        models.append(torch.where(net.trained, start, mean.over(start)))
    for client, share in trial.cohort(len(masks)):
        found = [net.accuracy(model, *trial.data(client)) for model in models]
        right = [a + share * b for a, b in zip(right, found, strict=True)]
        down = sum(int(mask.sum()) for mask in masks)
        trial.sends(len(masks), down=down, up=len(masks))
    first, second = sorted(right)[-1], sorted(right)[-2]
    assert first - second > MARGIN, "two candidates are alike; change the seed"
    best = right.index(first)
    return models[best], masks[best], len(masks)
