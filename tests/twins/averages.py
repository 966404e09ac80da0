"""FedAvg, FedProx, FedNova, SCAFFOLD and top-k: whole models down, and a rule of the server."""

import torch

from tests.twins.net import Mean, largest, train


def fedavg(trial):
    """w <- sum of share * w_i (McMahan et al. 2017)."""
    return fedprox(trial, 0.0)


def fedprox(trial, mu=None):
    """The same; clients minimise F + mu/2 |w - w_t|^2 (Li et al. 2020)."""
    net, w = trial.net, trial.net.first
    mu = trial.keys["mu"] if mu is None else mu
    for round in range(trial.rounds):
        total = torch.zeros_like(w)
        for client, share in trial.cohort(round):
            own, _ = train(
                trial, round, client, w,
                lambda v, x, y, w=w: net.gradient(v, x, y) + mu * (v - w),
            )  # fmt: skip
            total += share * own
            trial.sends(round, down=net.size, up=net.size)
        w = total
    return w


def fednova(trial):
    """w <- w - (sum p_i a_i) sum p_i (w - w_i) / a_i (Wang et al. 2020, equation 6)."""
    net, w, m = trial.net, trial.net.first, trial.momentum
    lengths = set()
    for round in range(trial.rounds):
        direction, length, mean = torch.zeros_like(w), 0.0, torch.zeros_like(w)
        for client, p in trial.cohort(round):
            own, steps = train(trial, round, client, w, net.gradient)
            # The sum of the weights that momentum gives to the steps' gradients.
            a = sum(sum(m**j for j in range(steps - i)) for i in range(steps))
            direction, length, mean = direction + p * (w - own) / a, length + p * a, mean + p * own
            lengths.add(steps)
            trial.sends(round, down=net.size, up=net.size)
        w = torch.where(net.trained, w - length * direction, mean)
    assert len(lengths) > 1
    return w


def scaffold(trial):
    """Algorithm 1 with option II of Karimireddy et al. 2020; "released": the cohort's mean."""
    net, w = trial.net, trial.net.first
    c, own_c = torch.zeros_like(w), {}
    for round in range(trial.rounds):
        mean, changes = torch.zeros_like(w), []
        for client, share in trial.cohort(round):
            c_i = own_c.get(client, torch.zeros_like(w))
            own, steps = train(
                trial, round, client, w,
                lambda v, x, y, c_i=c_i, c=c: net.gradient(v, x, y) - c_i + c,
            )  # fmt: skip
            new = c_i - c + (w - own) / (steps * trial.rate(round))
            own_c[client] = torch.where(net.trained, new, c_i)
            changes.append(own_c[client] - c_i)
            mean += share * own
            trial.sends(round, down=2 * net.size, up=2 * net.size)
        number = trial.clients if trial.keys["variant"] == "paper" else len(changes)
        w, c = mean, c + sum(changes) / number
    return w


def topk(trial):
    """Clients send the largest entries of change + residual (Stich et al. 2018)."""
    net, w, residual = trial.net, trial.net.first, {}
    count = round(trial.keys["share"] * int(net.trained.sum()))
    for number in range(trial.rounds):
        total = torch.zeros_like(w)
        for client, share in trial.cohort(number):
            own, _ = train(trial, number, client, w, net.gradient)
            change = own - w + residual.get(client, 0)
            sent = net.ones()
            sent[net.trained] = largest(change[net.trained], count)
            if trial.keys["feedback"]:
                residual[client] = change * ~sent
            total += share * change * sent
            trial.sends(number, down=net.size, up=sent)
        w = w + total
    return w


def fedavg_adam(trial):
    """FedAvg with Adam of fresh moments on each client, by torch.optim."""
    net, w = trial.net, trial.net.first
    for round in range(trial.rounds):
        mean = Mean(net)
        for client, share in trial.cohort(round):
            (x, y), own = trial.data(client), w.clone()
            adam = torch.optim.Adam([own], trial.rate(round), weight_decay=trial.weight_decay)
            for batch in (batch for epoch in trial.epochs(round, client) for batch in epoch):
                own.grad = net.gradient(own, x[batch], y[batch])
                still = own.clone()
                adam.step()
                own[~net.trained] = still[~net.trained]
            mean.add(own, share)
            trial.sends(round, down=net.size, up=net.size)
        w = mean.over(w)
    return w
