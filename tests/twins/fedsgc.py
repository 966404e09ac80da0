"""FedSGC: clients move masks by how their steps agree with the server's last one."""

import math

import torch

from tests.twins.masks import local, rounded
from tests.twins.net import erk, largest, train


def fedsgc(trial):
    """Prune what went against the server, grow what goes along with it (Tian et al. 2024)."""
    net, keys, mask = trial.net, trial.keys, trial.net.ones()
    blocks = [net.place[name] for name in net.prunable()]
    for block, density in zip(blocks, erk(net, net.prunable(), 1 - keys["sparsity"]), strict=True):
        mask[block] = largest(net.first[block], round(density * (block.stop - block.start)))
    w, signs, used = net.first * mask, torch.zeros_like(net.first), set()
    last = keys["until"] * trial.rounds
    for number in range(trial.rounds):
        adjusts = number % keys["every"] == 0 and 0 < number <= last
        share = keys["alpha"] / 2 * (1 + math.cos(math.pi * number / last))
        total, held = torch.zeros_like(w), torch.zeros_like(mask)
        for client, weight in trial.cohort(number):
            own, its = local(trial, number, client, w, mask), mask
            if adjusts:
                own, its, groups = moving(trial, number, client, w, mask, signs, share)
                used |= groups
            total += weight * own * its
            held |= its
            trial.sends(number, down=mask, up=its)
        signs = torch.where(held, (total - w).sign(), signs)
        w = total
        if adjusts:
            sizes, mask = [int(mask[block].sum()) for block in blocks], mask.clone()
            for block, size in zip(blocks, sizes, strict=True):
                there = block.start + held[block].nonzero().flatten()
                mask[block] = False
                mask[there] = largest(w[there], size)
            w = w * mask
    assert used == {"opposed", "agreeing"}, "no weight was preferred"
    return w


def moving(trial, number, client, w, mask, signs, share):
    """Train, and move the mask at the middle step. Return weights, mask, which groups gave."""
    net, now, used, start = trial.net, mask.clone(), set(), w * mask
    middle, count = sum(map(len, trial.epochs(number, client))) // 2 + 1, [0]

    def gradient(v, x, y):
        g = net.gradient(v, x, y, now)
        count[0] += 1
        if count[0] == middle:
            moved = torch.where(mask, v - start, -g)
            small = moved.abs()[moved != 0].min()
            assert small > 1e-9, "a weight has hardly moved; change the seed"
            for block in (net.place[name] for name in net.prunable()):
                alive = block.start + mask[block].nonzero().flatten()
                pruned = block.start + (~mask[block]).nonzero().flatten()
                n = min(rounded(share * len(alive)), len(pruned))
                opposed = signs[alive] * moved[alive] < 0
                agreeing = signs[pruned] * moved[pruned] > 0
                for part, size in divided(alive, n, opposed, trial.keys["opposed"]):
                    now[part] = largest(v[part], len(part) - size)
                for part, size in divided(pruned, n, agreeing, trial.keys["agreeing"]):
                    now[part] = largest(g[part], size)
                used.update({"opposed"} if opposed.any() and n else ())
                used.update({"agreeing"} if agreeing.any() and n else ())
            v[now != mask] = 0
        return g

    own, _ = train(trial, number, client, start, gradient, lambda v, g: now)
    return own, now, used


def divided(places, count, first, portion):
    """Return both groups, and how many of `count` are theirs."""
    inside, others = places[first], places[~first]
    number = min(rounded(portion * count), len(inside))
    number += max(count - number - len(others), 0)
    return (inside, number), (others, count - number)
