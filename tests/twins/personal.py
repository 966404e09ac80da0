"""FedBN, LG-FedAvg and FedMTL: models of which clients keep a part, or all."""

import torch

from tests.twins.net import Mean, train


def shared_part(trial, shared, warmup=0):
    """Average what is `shared` bool[P]; each client goes on from its own rest."""
    net, w, own_parts = trial.net, trial.net.first, {}
    for round in range(trial.rounds):
        mean, sent = Mean(net), net.ones() if round < warmup else shared
        for client, share in trial.cohort(round):
            start = torch.where(sent, w, own_parts.get(client, w))
            own, _ = train(trial, round, client, start, net.gradient)
            if round >= warmup:
                own_parts[client] = own
            mean.add(own, share, sent)
            trial.sends(round, down=sent, up=sent)
        w = mean.over(w)
    return w


def fedbn(trial):
    """Normalisation is the client's own (Li et al. 2021); or its running statistics only."""
    net = trial.net
    names = [n for n in net.shapes if "running" in n or trial.keys["private"] == "all"]
    return shared_part(trial, ~net.inside(n for n in names if n.startswith("bn")))


def lg_fedavg(trial):
    """The last (or first) layers are everyone's (Liang et al. 2020)."""
    net, number = trial.net, trial.keys["shared"]
    layers = ["conv1", "conv2", "fc1", "fc2"]
    layers = layers[:number] if trial.keys["side"] == "first" else layers[-number:]
    parts = layers + (["bn1"] if "conv1" in layers else [])
    shared = net.inside(n for n in net.shapes if n.split(".")[0] in parts)
    return shared_part(trial, shared, trial.keys["warmup"])


def fedmtl(trial):
    """CE + s (|W|^2 + sum |w_i - mean|^2) on models of clients' own (Smith et al. 2017)."""
    net, mean, s, models = trial.net, trial.net.first, trial.keys["strength"], {}
    for round in range(trial.rounds):
        change = torch.zeros_like(mean)
        for client, _ in trial.cohort(round):
            start = models.get(client, net.first)
            models[client], _ = train(
                trial, round, client, start,
                lambda v, x, y, mean=mean: (
                    net.gradient(v, x, y) + s * (2 * v + 2 * (v - mean))
                ),
            )  # fmt: skip
            change += models[client] - start
            trial.sends(round, down=net.size, up=net.size)
        mean = mean + change / trial.clients
    return mean
