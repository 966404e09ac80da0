"""ADP: channel gates (version 1), salience or a threshold (version 2), under FedAvg."""

import torch
from torch import nn

from tests.twins.averages import fedavg
from tests.twins.net import MARGIN, Net, largest, train


class Gated(nn.Module):
    """The network `small` of net.py with a gate on each convolution."""

    def __init__(self, ratio, squash):
        super().__init__()
        self.ratio, self.squash = ratio, squash
        self.conv1, self.bn1 = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.fc1, self.fc2 = nn.Linear(24, 8), nn.Linear(8, 10)
        for conv in (self.conv1, self.conv2):
            conv.gate = nn.Linear(conv.in_channels, conv.out_channels)

    def gate(self, conv, x):
        """Return relu(U mean(x) + b), of which the largest of each sample stay."""
        mean = x.mean((2, 3))
        g = torch.relu(conv.gate(torch.sigmoid(mean) if self.squash else mean))
        kept = round(self.ratio * conv.out_channels)
        ranked = g.detach().sort(1, descending=True).values
        last, next = ranked[:, kept - 1], ranked[:, kept]
        assert (((last - next) > MARGIN * last) | (last == 0)).all(), "two gates are almost equal"
        return (g * (g >= last[:, None]))[:, :, None, None]

    def forward(self, x):
        x = torch.relu(self.gate(self.conv1, x) * self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 2)
        x = torch.relu(self.gate(self.conv2, x) * self.conv2(x))
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


def version1(trial):
    """Federated averaging of a gated network (Yu et al. 2021)."""
    net = Net(Gated(trial.keys["ratio"], trial.keys["squash"]))
    net.first = net.vector(trial.first())
    trial.net = net
    return fedavg(trial)


def version2(trial):
    """Train the most salient weights, or set small ones to 0 after each epoch (Yu et al. 2023)."""
    net, w, keys = trial.net, trial.net.first, trial.keys
    inside, paper = net.inside(net.convolutions()), keys["variant"] == "paper"
    zeros = 0
    for number in range(trial.rounds):
        total = torch.zeros_like(w)
        for client, share in trial.cohort(number):
            moved = ~inside

            def salient(v, g, moved=moved):
                """The largest |w dL/dw| of all convolutions together, and all other layers."""
                moves, count = net.ones(), round(keys["salient"] * int(inside.sum()))
                moves[inside] = largest((v * g)[inside], count)
                moved |= moves
                return moves

            def prune(v):
                v[inside & (v.abs() <= keys["threshold"])] = 0

            how = {"moving": salient} if paper else {"each_epoch": prune}
            own, _ = train(trial, number, client, w, net.gradient, **how)
            total += share * own
            down, up = (net.size, moved) if paper else (~inside | (w != 0), ~inside | (own != 0))
            zeros += net.size - int(up.sum())
            trial.sends(number, down=down, up=up)
        w = total
    assert zeros, "nothing was pruned"
    return w
