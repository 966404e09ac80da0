"""The input of every arm (arrays, partition, cohorts, first weights), and its results.

Needs numpy and torch only, since it runs in the environments of the peers.
"""

import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class LeNet(nn.Module):
    """LeNet-5 for 28x28: the same tensors, by the same names, as fedmpi's lenet5."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        """Return the outputs [N, 10] for x [N, 1, 28, 28]."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


class Given:
    """The folder that `fedmpi bench round` writes: see `fedmpi/bench/given.py`.

    rounds, per_round, clients, epochs, batch, lr; x, y of all training samples (tensors that
    share the file's memory); `part(client)` their (x, y); `cohorts` int64[rounds, per_round].
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.__dict__.update(json.loads((self.folder / "setting.json").read_text()))
        self.x, self.y = self._tensor("x_train"), self._tensor("y_train")
        self.cohorts = np.load(self.folder / "cohorts.npy")
        self._index = np.load(self.folder / "index.npy")
        self._starts = np.load(self.folder / "starts.npy")
        self._parts = {}
        self.own_net = cache(self.model)

    def _tensor(self, name):
        # "c": pages are read when used and shared with other processes until written
        return torch.from_numpy(np.load(self.folder / f"{name}.npy", mmap_mode="c"))

    def part(self, client):
        """Return the samples of one client, copied once and kept."""
        if client not in self._parts:
            index = self._index[self._starts[client] : self._starts[client + 1]]
            self._parts[client] = self.x[index], self.y[index]
        return self._parts[client]

    def model(self):
        """Return a new LeNet with the first weights."""
        net = LeNet()
        with np.load(self.folder / "weights.npz") as weights:
            net.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights})
        return net

    def train(self, net, client):
        """Train `net` in place on one client: plain torch, no shuffling, no momentum."""
        x, y = self.part(client)
        optimizer = torch.optim.SGD(net.parameters(), lr=self.lr)
        for _ in range(self.epochs):
            for i in range(0, len(y), self.batch):
                optimizer.zero_grad()
                F.cross_entropy(net(x[i : i + self.batch]), y[i : i + self.batch]).backward()
                optimizer.step()
        return len(y)

    def accuracy(self, net):
        """Return the share of test samples that `net` classes right."""
        x, y = self._tensor("x_test"), self._tensor("y_test")
        with torch.no_grad():
            parts = [net(x[i : i + 500]).argmax(1) for i in range(0, len(y), 500)]
        return float((torch.cat(parts) == y).double().mean())

    def hand_back(self, marks, net, **more):
        """Write the measurements: `marks` are clock times at the end of each round."""
        seconds = np.diff(marks).tolist()
        found = {"seconds": seconds, "accuracy": self.accuracy(net), **more}
        Path(sys.argv[2]).write_text(json.dumps(found))


@cache
def given(folder=None):
    """Return the Given of a folder (default: the command's first word); one thread for torch."""
    torch.set_num_threads(1)
    return Given(folder or sys.argv[1])
