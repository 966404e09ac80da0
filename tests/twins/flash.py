"""FLASH: a warm-up for the densities of the layers, then masks that clients move."""

from itertools import pairwise

import torch

from tests.twins.net import MARGIN, Mean, largest, random_mask, train


def flash(trial):
    """Masks that are learnt, or those that the warm-up left (Babakniya et al. 2023)."""
    net, keys, density = trial.net, trial.keys, 1 - trial.keys["sparsity"]
    names, blocks = net.prunable(), [net.place[name] for name in net.prunable()]
    first = random_mask(net, names, [density] * len(names), trial.rng("flash", 0))
    found, taken = warmed(trial, first), set()
    moved = int((found.bool() & ~first).sum())
    counts = scaled(found, blocks, density)
    drawn = torch.from_numpy(trial.rng("flash", 1).permutation(net.size)).double()
    mask = cut(net, drawn, blocks, counts)
    w = net.first * mask
    for number in range(1, trial.rounds):
        learns = keys["masks"] == "learnt" and number % keys["every"] == 0
        mean, found = Mean(net), torch.zeros_like(w)
        for client, share in trial.cohort(number):
            part = keys["shares"][
                int(trial.rng("flash-share", 0, client).integers(len(keys["shares"])))
            ]
            taken.add(part)
            held = mask
            if part < 1:
                counts = [round(part * int(mask[b].sum())) for b in blocks]
                held = cut(net, w * mask, blocks, counts)
            middle = sum(map(len, trial.epochs(number, client))) // 2 + 1
            at = {middle: keys["rate"] / 2} if learns else {}
            own, after = moving(trial, number, client, w * held, held, at)
            moved += int((after & ~held).sum())
            mean.add(own, share, after)
            found += share * after
            trial.sends(number, down=held, up=after)
        w = mean.over(w) if keys["mean"] == "holders" else mean.total
        if learns:
            mask = cut(net, w, blocks, scaled(found, blocks, density))
        w = w * mask
    assert moved and taken == set(keys["shares"]), "no mask has moved, or a share is missing"
    return w


def warmed(trial, first):
    """Return the mean of the masks that the clients of round 0 end with."""
    net, keys, found = trial.net, trial.keys, torch.zeros_like(trial.net.first)
    for client, share in trial.cohort(0):
        steps = sum(map(len, trial.epochs(0, client)))
        at = {part * steps: keys["rate"] * (1 - part / keys["warmup"])
              for part in range(1, keys["warmup"])}  # fmt: skip
        _, mask = moving(trial, 0, client, net.first * first, first, at, keys["warmup"])
        found += share * mask
        trial.sends(0, down=first, up=0)
    return found


def moving(trial, number, client, start, mask, at, parts=1):
    """Train `parts` rounds' steps under a mask that changes at the steps `at`. Return both."""
    net, now, count = trial.net, mask.clone(), [0]
    rank = torch.from_numpy(trial.rng("flash-grow", number, client).random(net.size, "float32"))

    def gradient(v, x, y):
        g = net.gradient(v, x, y, now)
        count[0] += 1
        if count[0] in at:
            new = replaced(net, v, now, at[count[0]], rank.double())
            v[new != now] = 0
            now[:] = new
        return g

    own, steps = train(trial, number, client, start, gradient, lambda v, g: now, parts=parts)
    assert set(at) <= set(range(1, steps + 1))
    return own, now


def replaced(net, w, mask, rate, rank):
    """Return the mask without its smallest, and with as many others, by the layers' magnitude."""
    new, gone, portions, room = mask.clone(), 0, [], []
    blocks = [net.place[name] for name in net.prunable()]
    for block in blocks:
        alive = block.start + mask[block].nonzero().flatten()
        room.append(int((~mask[block]).sum()))
        number = min(round(rate * len(alive)), room[-1])
        portions.append(w[alive].abs().mean().item())
        new[alive] = largest(w[alive], len(alive) - number)
        gone += number
    wanted = filled(gone, portions, room)
    left = sorted(int(n) - n for n in wanted if n != int(n))
    assert all(b - a > MARGIN for a, b in pairwise(left)), "a tie of layers"
    last = round(gone - sum(map(int, wanted)))
    for block, number in zip(blocks, wanted, strict=True):
        pruned = block.start + (~mask[block]).nonzero().flatten()
        new[pruned] = largest(rank[pruned], int(number) + (int(number) - number in left[:last]))
    return new


def filled(gone, portions, room):
    """Return each layer's part of what comes: in proportion, what does not fit to the others."""
    full = set()
    while True:
        left = gone - sum(room[i] for i in full)
        rest = sum(p for i, p in enumerate(portions) if i not in full)
        wanted = [room[i] if i in full else left * p / rest for i, p in enumerate(portions)]
        over = {i for i, n in enumerate(wanted) if i not in full and n >= room[i]}
        if not over:
            return wanted
        full |= over


def scaled(found, blocks, density):
    """Return how many weights each layer keeps, by the mean of the masks."""
    held, sizes = [found[b].sum().item() for b in blocks], [b.stop - b.start for b in blocks]
    wanted = [n * density * sum(sizes) / sum(held) for n in held]
    assert all(abs(n - round(n)) > 1e-5 or abs(n - round(n)) < 1e-7 for n in wanted)
    return [min(int(n + 1e-6), size) for n, size in zip(wanted, sizes, strict=True)]


def cut(net, w, blocks, counts):
    """Return the mask of the largest weights, with a given number in each layer."""
    mask = net.ones()
    for block, count in zip(blocks, counts, strict=True):
        mask[block] = largest(w[block], count)
    return mask
