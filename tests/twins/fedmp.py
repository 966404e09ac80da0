"""FedMP: a bandit chooses each client's width; what a client lacks counts as before."""

import math

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from tests.twins.net import MARGIN, largest, train
from tests.twins.widths import SIZES, left

TOLD = 64 + 32 + 8 + 4  # bytes of the message with the time: header, table, support, value


def fedmp(trial):
    """Rows by their L1 norm, ratios by discounted UCB (Jiang et al. 2022)."""
    net, w, keys = trial.net, trial.net.first, trial.keys
    arms, bandits, mean, later = keys["ratios"], {}, None, 0
    for number in range(trial.rounds):
        total, times = torch.zeros_like(w), 0.0
        for client, share in trial.cohort(number):
            nothing = {"pulls": [0.0] * len(arms), "sums": [0.0] * len(arms)}
            bandit = bandits.setdefault(client, nothing)
            arm = pulled(bandit, trial.rng("fedmp", 0, client).permutation(len(arms)))
            later += all(bandit["pulls"])
            mask = left(net, rows_of(net, w, arms[arm])) if arms[arm] else net.ones()
            own, losses = trained(trial, number, client, w, mask)
            total += share * torch.where(mask, own, w)
            seconds = predicted(trial, number, client)
            reward = 0.0
            if "loss" in bandit:
                away = abs(seconds / mean - 1) + keys["margin"]
                reward = (bandit["loss"] - losses) / away
            for i in range(len(arms)):
                for name, new in (("pulls", 1.0), ("sums", reward)):
                    bandit[name][i] = keys["discount"] * bandit[name][i] + new * (i == arm)
            bandit["loss"] = losses
            times += share * seconds
            trial.sends(number, down=mask, up=int(mask.sum()) + 1)
        w, mean = total, times
    assert later > 3, "the bandit has hardly chosen"
    return w


def pulled(bandit, order):
    """Return the arm of the largest bound, or one that was never pulled."""
    pulls, sums = bandit["pulls"], bandit["sums"]
    for arm in order.tolist():
        if pulls[arm] == 0:
            return arm
    whole = max(sum(pulls), 1)
    bounds = [s / n + math.sqrt(2 * math.log(whole) / n) for s, n in zip(sums, pulls, strict=True)]
    first, second = sorted(bounds)[-1], sorted(bounds)[-2]
    assert first - second > 10 * MARGIN, "two arms are alike; change the seed"
    return bounds.index(first)


def rows_of(net, w, ratio):
    """Return bool[rows] of each layer, those of the largest L1 norm."""
    views = net.views(w)
    return {
        layer: largest(views[f"{layer}.weight"].abs().flatten(1).sum(1), math.ceil((1 - ratio) * n))
        for layer, n in SIZES.items()
    }


def trained(trial, number, client, w, mask):
    """Train the rows that a client holds; return its weights and the mean loss of its samples."""
    net, told = trial.net, []

    def gradient(v, x, y):
        here = {name: values.clone() for name, values in net.views(v * mask).items()}
        with torch.no_grad():
            loss = cross_entropy(functional_call(net.module, here, x), y)
        told.append((loss.item(), len(y)))
        return net.gradient(v, x, y, mask) * mask

    own, _ = train(trial, number, client, w * mask, gradient, mask)
    return own, sum(loss * n for loss, n in told) / sum(n for _, n in told)


def predicted(trial, number, client):
    """Return the seconds of a client's round, those for the time's own message taken off."""
    rows = trial.run.clients
    here = (rows.round[:] == number) & (rows.client[:] == client)
    spent = sum(getattr(rows, f"seconds_{part}")[here][0] for part in ("down", "compute", "up"))
    rate = trial.run.devices.up_mbit_s[client]
    return spent - 8 * TOLD / (1e6 * rate)
