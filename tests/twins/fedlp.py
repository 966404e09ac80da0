"""FedLP: layers that clients keep to themselves, at random or beyond their depth."""

import torch

from tests.twins.net import Mean, Net, train


def homo(trial):
    """Each layer (or tensor) goes up with probability p (Zhu et al. 2023)."""
    net, w = trial.net, trial.net.first
    layers = [["conv1", "bn1"], ["conv2"], ["fc1"], ["fc2"]]
    units = [[n for n in net.shapes if n.split(".")[0] in names] for names in layers]
    if trial.keys["granularity"] == "tensor":
        units = [[name] for name in net.shapes]
    for round in range(trial.rounds):
        mean = Mean(net)
        for client, share in trial.cohort(round):
            own, _ = train(trial, round, client, w, net.gradient)
            kept = trial.rng("fedlp", round, client).random(len(units)) < trial.keys["p"]
            sent = net.inside(n for unit, k in zip(units, kept, strict=True) if k for n in unit)
            mean.add(own, share, sent)
            trial.sends(round, down=net.size, up=sent)
        w = mean.over(w)
    return w


def hetero(trial):
    """A client of level l trains the first l + 1 convolutions under a head of its own."""
    whole, w, heads = trial.net, trial.net.first, {}
    nets = {level: Net(trial.module(level=level)) for level in range(1, 6)}
    seen = set()
    for round in range(trial.rounds):
        mean = Mean(whole)
        for client, share in trial.cohort(round):
            level = level_of(trial, client)
            net = trial.net = nets[level]  # for `train`
            shared = [name for name in net.shapes if "private" not in name]
            size = sum(net.shapes[name].numel() for name in shared)
            # The shared layers come first in both networks.
            start = heads.get(client, net.first).clone()
            start[:size] = w[:size]
            own, _ = train(trial, round, client, start, net.gradient)
            heads[client] = own
            sent = whole.inside(shared)
            mean.add(torch.cat([own[:size], w[size:]]), share, sent)
            seen.add(level)
            trial.sends(round, down=sent, up=sent)
        trial.net, w = whole, mean.over(w)
    assert len(seen) > 3, "few levels took part"
    return w


def level_of(trial, client):
    """Return a client's level, 1 to 5."""
    draw, keys = trial.rng("fedlp-level", 0, client), trial.keys
    if keys["prefer"] == "uniform":
        return int(draw.integers(1, 6))
    chances = [(1 - keys["chance"]) / 4] * 5
    chances[keys["prefer"] - 1] = keys["chance"]
    return int(draw.choice(5, p=chances)) + 1
