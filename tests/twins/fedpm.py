"""FedPM: scores of a random network are trained, and a bit of each weight goes up."""

import torch

from tests.twins.net import KINK, Mean, train


def fedpm(trial):
    """Masks are drawn in every step; the server takes the mean of the bits (Isik et al. 2023)."""
    net, keys, shapes = trial.net, trial.keys, trial.net.shapes
    masked = net.inside(name for name in shapes if not name.startswith("bn"))
    fixed = net.first  # signed values cancel out exactly, and leave nothing but rounding
    theta = float32(torch.from_numpy(trial.rng("fedpm").standard_normal(net.size)).sigmoid())
    w, since, bits_seen = fixed.clone(), [], set()
    for number in range(trial.rounds):
        bits, statistics = torch.zeros_like(w), Mean(net)
        for client, share in trial.cohort(number):
            start = torch.where(masked, float32(torch.logit(theta)), w)
            own = scored(trial, number, client, start, fixed, masked)
            mask = below(trial.rng("fedpm-bits", number, client), own.sigmoid(), masked)
            bits += share * mask
            bits_seen.add(int(mask.sum()))
            statistics.add(own, share, ~net.trained)
            still = int((~net.trained).sum())
            trial.sends(number, down=masked | ~net.trained, up=still)
        since = [*(since if number % keys["reset"] else []), bits]
        theta = keys["margin"] + (1 - 2 * keys["margin"]) * sum(since) / len(since)
        w = torch.where(net.trained, fixed, statistics.over(w))
        drawn = below(trial.rng("fedpm-model", number + 1), theta, masked)
        model = w * (drawn | ~masked)
    assert len(bits_seen) > trial.rounds, "all masks are of one size"
    return model


def scored(trial, number, client, start, fixed, masked):
    """Train scores by straight-through gradients of masks that are drawn for each step."""
    net, rng = trial.net, trial.rng("scores", number, client)

    def gradient(s, x, y):
        chance = s.sigmoid()
        point = torch.where(masked, fixed * below(rng, chance, masked), s)
        g = net.gradient(point, x, y)
        s[~net.trained] = point[~net.trained]
        return g * torch.where(masked, fixed * chance * (1 - chance), 1.0)

    return train(trial, number, client, start, gradient, masked)[0]


def below(rng, chance, masked):
    """Return bool[P]: which numbers of a stream are below their chance; clear of rounding."""
    drawn = torch.from_numpy(rng.random(len(chance), "float32")).double()
    assert ((drawn - chance).abs()[masked] > KINK).all(), "a number at its chance; change the seed"
    return (drawn < chance) & masked


def float32(values):
    """Return float64 values that are those of float32."""
    return torch.as_tensor(values).float().double()
