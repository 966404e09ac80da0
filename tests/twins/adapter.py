"""The inputs of a twin from fedmpi: the run and its draws (clients, batches, weights)."""

from functools import cached_property

import numpy as np
import torch

import fedmpi
from fedmpi.comm.base import Serial
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import of_tree
from fedmpi.learn.models import build
from fedmpi.rng import rng_for
from tests.twins.net import Net


class Trial:
    """A configuration, what it draws, and its real run.

    Attributes
    ----------
    run : fedmpi Run
        The real run, finished.
    keys : dict
        The [algorithm] keys, defaults included.
    net : Net
        Of the whole model, with its first weights.
    sent : dict
        Numbers of coordinates that a twin sends, "up" and "down", by round.
    """

    def __init__(self, tree, out):
        self.run = fedmpi.run(tree, out=out)
        self._resolved = of_tree(tree)
        self._experiment = assemble(self._resolved, Serial(), None)
        self.config, self.keys = self._resolved.config, self._resolved.algorithm_keys.model_dump()
        self.rounds, self.clients = self.config.run.rounds, self.config.clients.number
        self.momentum = self.config.optimizer.momentum
        self.weight_decay = self.config.optimizer.weight_decay
        self.sent = {"up": [0] * self.rounds, "down": [0] * self.rounds}

    @cached_property
    def net(self):
        return Net(self.module())

    def module(self, **options):
        """Return a new module of the model with its first values, float32."""
        x = self._experiment.dataset.x_train
        keys, seed = self._resolved.model_keys | options, self.config.run.seed
        classes = self._experiment.dataset.classes
        return build(self.config.model.name, x.shape[1:], classes, keys, seed)

    def first(self):
        """Return the first weights by name, those of parts that a method adds included."""
        layout, weights = self._experiment.layout, self._experiment.weights
        return {t.name: weights[layout.slice(t.name)].reshape(t.shape) for t in layout.tensors}

    def rng(self, purpose, round=0, client=0):
        return rng_for(self.config.run.seed, purpose, round, client)

    def cohort(self, round):
        """Return [(client, share)] of a round, in order of clients; all of them completed."""
        rows = self.run.clients
        here = rows.round[:] == round
        samples = rows.samples[here] * 1.0
        if self.config.clients.weighting == "uniform":
            samples = samples**0
        shares = samples / samples.sum()
        return list(zip(rows.client[here].tolist(), shares.tolist(), strict=True))

    def data(self, client):
        """Return a client's samples x float64[n, ...] and y int64[n]."""
        held = self._experiment.engine.data
        x, y = held.samples.take(held.partition.of(client))
        return torch.from_numpy(x).double(), torch.from_numpy(y)

    def all_samples(self):
        """Return x float64[n, ...] of all clients, and x and y int64[m] of the test set."""
        train, test = self._experiment.engine.data.samples, self._experiment.test
        x, _ = train.take(np.arange(len(train)))
        held_out = test.take(np.arange(len(test)))
        x, x_test, y_test = (torch.from_numpy(array) for array in (x, *held_out))
        return x.double(), x_test.double(), y_test

    def epochs(self, round, client, parts=1):
        """Return the batches of `parts` rounds' epochs: for each epoch a list of int64[b]."""
        rng, size = self.rng("batches", round, client), self.config.clients.batch_size
        samples = int(self._experiment.sizes[client])
        orders = [rng.permutation(samples) for _ in range(parts * self.config.clients.local_epochs)]
        return [[order[i : i + size] for i in range(0, samples, size)] for order in orders]

    def rate(self, round):
        optimizer = self.config.optimizer
        return optimizer.lr * optimizer.lr_decay**round

    def sends(self, round, down, up):
        """Note the coordinates that one client receives and sends, int or bool[P]."""
        for way, amount in (("down", down), ("up", up)):
            self.sent[way][round] += int(amount if isinstance(amount, int) else amount.sum())
