"""FedSkel: skeletons by hooks on the outputs of a plain network."""

from contextlib import contextmanager

import torch

from tests.twins.net import Mean, largest, train

# The tensors that make up a row of each layer; the last layer is always whole.
PARTS = {"conv1": ("conv1", "bn1"), "conv2": ("conv2",), "fc1": ("fc1",)}


def fedskel(trial):
    """Rounds in turn: one SetSkel, then `updates_per_set` UpdateSkel rounds (Luo et al. 2021)."""
    net, w, keys = trial.net, trial.net.first, trial.keys
    local = keys["linear"] == "local"
    linear = net.inside(name for name in net.shapes if name.startswith("fc"))
    skeletons = "conv" if local else keys["layers"]
    cut = [layer for layer in PARTS if layer[:2] == "co" or "linear" in skeletons]
    rows, personal, taken = {}, {}, {}  # of each client: skeleton, other filters, rounds so far
    for round in range(trial.rounds):
        mean = Mean(net)
        for client, share in trial.cohort(round):
            turn = taken.get(client, 0) if keys["cycle"] == "client" else round
            taken[client] = taken.get(client, 0) + 1
            if client not in rows or turn % (keys["updates_per_set"] + 1) == 0:
                with scored(trial, cut) as score:
                    own, _ = train(trial, round, client, w, net.gradient)
                rows[client] = chosen(trial, cut, score, taken[client], client)
                personal[client] = own
                mean.add(own, share)
                trial.sends(round, down=net.size, up=net.size)
                continue
            held = in_rows(net, rows[client])
            travels = held & ~linear if local else held
            start = torch.where(travels, w, personal[client])
            with only(net, rows[client]):
                own, _ = train(trial, round, client, start, net.gradient, held)
            assert torch.equal(own[~held & net.trained], start[~held & net.trained])
            own = torch.where(held, own, start)  # a dropped filter's running statistics stay too
            personal[client] = torch.where(linear, own, personal[client]) if local else start
            up = travels if keys["variant"] == "paper" else net.ones()
            mean.add(own, share, up)
            trial.sends(round, down=travels, up=up)
        w = mean.over(w)
    assert max(taken.values()) > keys["updates_per_set"] + 2, "no client came to a second cycle"
    return w


@contextmanager
def scored(trial, cut):
    """Sum each row's |raw output|, or -output * its gradient, in all that trains inside."""
    score, handles = dict.fromkeys(cut, 0), []

    def relevance(layer, output):
        def arrived(gradient):
            # The loss is a mean over the batch; the sum over samples is wanted.
            product = -len(output) * (output.detach() * gradient)
            score[layer] = score[layer] + product.transpose(0, 1).flatten(1).sum(1)

        output.register_hook(arrived)

    def activation(layer, output):
        score[layer] = score[layer] + output.detach().abs().transpose(0, 1).flatten(1).sum(1)

    see = relevance if trial.keys["score"] == "relevance" else activation
    for layer in cut:
        part = trial.net.module.get_submodule(layer)
        handles.append(part.register_forward_hook(lambda _, __, out, layer=layer: see(layer, out)))
    yield score
    for handle in handles:
        handle.remove()


def chosen(trial, cut, score, count, client):
    """Return for each layer bool[rows]: without the floor((1 - r) rows) of least score."""
    rng, rows = trial.rng("fedskel", count, client), {}
    for layer in cut:
        number = trial.net.shapes[f"{layer}.bias"][0]
        scores = score[layer]
        if trial.keys["score"] == "random":
            scores = torch.from_numpy(rng.random(number))
        rows[layer] = largest(scores, number - int((1 - trial.keys["ratio"]) * number))
    return rows


def in_rows(net, rows):
    """Return bool[P]: the rows kept, with their normalisation, and all other layers."""
    held = net.ones()
    for layer, kept in rows.items():
        for name in net.shapes:
            if name.split(".")[0] in PARTS[layer]:
                size = net.shapes[name].numel() // len(kept)  # of a row
                held[net.place[name]] = kept.repeat_interleave(size)
    return held


@contextmanager
def only(net, rows):
    """Let no gradient arrive at the raw outputs of other rows, in all that trains inside."""
    handles = []
    for layer, kept in rows.items():

        def hook(part, inputs, output, kept=kept):
            shape = (1, -1) + (1,) * (output.dim() - 2)
            output.register_hook(lambda gradient: gradient * kept.view(shape))

        handles.append(net.module.get_submodule(layer).register_forward_hook(hook))
    yield
    for handle in handles:
        handle.remove()
