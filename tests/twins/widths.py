"""HeteroFL and PruneTrain: networks without some of their rows.

A network whose rows are removed gives what the whole one gives with their weights, scales and
shifts at 0, and those that read them.
"""

import math

import torch
from torch.func import functional_call

from tests.twins.net import MARGIN, Mean, train

CHAIN = ("conv1", "bn1", "conv2", "fc1", "fc2")


def left(net, rows):
    """Return bool[P]: the coordinates left with the `rows` of layers, {name: bool[C]}."""
    mask, before = net.ones(), None
    for part in CHAIN:
        kept = before if part == "bn1" else rows.get(part)
        for name in (n for n in net.shapes if n.split(".")[0] == part):
            shape = net.shapes[name]
            held = torch.ones(shape, dtype=torch.bool)
            if kept is not None:
                held[~kept] = False
            if len(shape) > 1 and before is not None:
                held[:, ~before.repeat_interleave(shape[1] // len(before))] = False
            mask[net.place[name]] = held.reshape(-1)
        before = kept
    return mask


SIZES = {"conv1": 4, "conv2": 6, "fc1": 8}


def first_rows(trial, round, client, layer, count):
    """HeteroFL's rows (Diao et al. 2021)."""
    return range(count)


def rolling_rows(trial, round, client, layer, count):
    """FedRolex's rows, which begin one row later each round (Alam et al. 2022)."""
    return [(round + i) % SIZES[layer] for i in range(count)]


def drawn_rows(trial, round, client, layer, count):
    """Federated dropout's rows (Caldas et al. 2018)."""
    number = list(SIZES).index(layer)
    rng = trial.rng(f"federated-dropout-{number}", round, client)
    return rng.permutation(SIZES[layer])[:count].tolist()


def rows_of(choose, trial, round, client, width):
    """Return bool[rows] of each layer, those that `choose` names."""
    rows = {layer: torch.zeros(size, dtype=torch.bool) for layer, size in SIZES.items()}
    for layer, kept in rows.items():
        kept[list(choose(trial, round, client, layer, math.ceil(width * len(kept))))] = True
    return rows


def heterofl(trial, choose=first_rows):
    """A client holds some rows of every layer, and a weight is the mean over its holders."""
    net, w, seen = trial.net, trial.net.first, set()
    for round in range(trial.rounds):
        mean = Mean(net)
        for client, share in trial.cohort(round):
            widths = trial.keys["widths"]
            width = widths[int(trial.rng("heterofl", 0, client).integers(len(widths)))]
            mask = left(net, rows_of(choose, trial, round, client, width))
            own, _ = train(
                trial, round, client, w * mask,
                lambda v, x, y, m=mask: net.gradient(v, x, y, m),
                mask,
            )  # fmt: skip
            mean.add(own, share, mask)
            seen.add(width)
            trial.sends(round, down=mask, up=mask)
        w = mean.over(w)
    assert len(seen) == len(widths), "a width never took part"
    return w


def fedrolex(trial):
    """The same with rolling rows."""
    return heterofl(trial, rolling_rows)


def federated_dropout(trial):
    """The same with drawn rows."""
    return heterofl(trial, drawn_rows)


def rolling_back(trial, round, client, layer, count):
    """The rows of FedRolex's published code, which begin one row earlier each round."""
    return torch.arange(SIZES[layer]).roll(round)[:count].tolist()


def fedrolex_complete(trial):
    """The complete HeteroFL with these rows."""
    return complete(trial, rolling_back)


def complete(trial, choose=first_rows):
    """The same with scaler, masked loss, static normalisation, clipping (Diao et al. 2021)."""
    net, w, keys = trial.net, trial.net.first, trial.keys
    last, clipped = torch.zeros_like(w, dtype=torch.bool), 0
    last[net.inside(["fc2.weight", "fc2.bias"])] = True
    for round in range(trial.rounds):
        mean = Mean(net)
        for client, share in trial.cohort(round):
            drawn = trial.rng("heterofl", round if keys["dynamic"] else 0, client)
            width = keys["widths"][int(drawn.integers(len(keys["widths"])))]
            mask = left(net, rows_of(choose, trial, round, client, width))
            present = torch.zeros(10, dtype=torch.bool)
            present[trial.data(client)[1]] = True

            def gradient(v, x, y, width=width, mask=mask, present=present):
                nonlocal clipped
                g = masked_loss(net, v * mask, x, y, width, present) * mask
                clipped += int(g.norm() > keys["clip"])
                return g * min(1.0, keys["clip"] / (g.norm() + 1e-6))

            own, _ = train(trial, round, client, w * mask, gradient, mask)
            up = mask & net.trained
            for name in ("fc2.weight", "fc2.bias"):
                rows = present.repeat_interleave(net.shapes[name].numel() // 10)
                up[net.place[name]] &= rows
            mean.add(own, share, up)
            trial.sends(round, down=mask & net.trained, up=up)
        w = mean.over(w)
    assert clipped, "no gradient was clipped"
    assert trial.run.rounds.test_accuracy[-1] == static_accuracy(trial, w)
    return w


def masked_loss(net, w, x, y, width, present):
    """Return the gradient with the outputs of absent classes at 0, activations over the width."""
    handles = [
        net.module.get_submodule(name).register_forward_hook(lambda _, __, out: out / width)
        for name in ("conv1", "conv2", "fc1")
    ]
    leaf = w.detach().clone().requires_grad_()
    views = {n: v if net.trained[net.place[n]].all() else v.detach().clone()
             for n, v in net.views(leaf).items()}  # fmt: skip
    out = functional_call(net.module, views, x)
    loss = torch.nn.functional.cross_entropy(torch.where(present, out, 0.0), y)
    for handle in handles:
        handle.remove()
    return torch.autograd.grad(loss, leaf)[0]


def static_accuracy(trial, w):
    """Return the test accuracy with statistics of a pass over the training data, 500 at once."""
    module, net = trial.module().double(), trial.net
    module.load_state_dict(net.views(w), strict=False)
    module.bn1.momentum = None  # the mean of all batches
    module.bn1.reset_running_stats()
    data = trial.all_samples()
    for x in data[0].split(500):
        module.train()(x)
    return (module.eval()(data[1]).argmax(1) == data[2]).double().mean().item()


def prunetrain(trial):
    """A penalty on rows, and removal of those that become small (Lym et al. 2019)."""
    net, w, keys = trial.net, trial.net.first, trial.keys
    rows = {k: torch.ones(n, dtype=torch.bool) for k, n in (("conv1", 4), ("conv2", 6), ("fc1", 8))}
    for round in range(trial.rounds):
        mask, total = left(net, rows), torch.zeros_like(w)
        for client, share in trial.cohort(round):
            own, _ = train(
                trial, round, client, w * mask,
                lambda v, x, y, m=mask: (
                    net.gradient(v, x, y, m) + keys["penalty"] * row_norms(net, rows, v)
                ),
                mask,
            )  # fmt: skip
            total += share * own
            trial.sends(round, down=mask, up=mask)
        if (round + 1) % keys["every"] == 0:
            for layer, kept in rows.items():
                largest = net.views(total)[f"{layer}.weight"].abs().flatten(1).amax(1)
                assert ((largest / keys["threshold"] - 1).abs() > MARGIN).all()
                new = kept & (largest > keys["threshold"])
                if not new.any():
                    new[torch.where(kept, largest, 0).argmax()] = True
                rows[layer] = new
        w = total * left(net, rows)
    assert sum(int((~kept).sum()) for kept in rows.values()) > 2, "hardly a row was removed"
    return w


def row_norms(net, rows, w):
    """Return the gradient of the sum of |w_row| over the rows left of all layers but the last."""
    g = torch.zeros_like(w)
    for layer, kept in rows.items():
        block = net.place[f"{layer}.weight"]
        grid = w[block].view(len(kept), -1)
        length = grid.norm(dim=1, keepdim=True)
        g[block] = torch.where(length > 0, grid / length, 0).reshape(-1)
    return g
