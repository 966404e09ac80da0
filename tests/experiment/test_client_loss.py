"""A method of the user's asks for the loss of a model on a client's own samples."""

from types import SimpleNamespace

import numpy as np
import pytest

import fedmpi
from fedmpi.errors import ConfigError

LOSSES = {}


class ByLoss(fedmpi.Algorithm):
    """Notes each client's loss before its training."""

    def plan(self, state, round, client):
        LOSSES[client] = self.loss(client, state["weights"])
        everything = fedmpi.Support.all(self.layout)
        return fedmpi.Plan(down=everything, up=everything)


@pytest.mark.parametrize("engine", ["kernels", "torch"])
def test_a_method_knows_the_loss_of_a_model_on_a_clients_samples(tmp_path, engine):
    """With a rate of almost 0 it is the loss of the training."""
    experiment = {"run": {"rounds": 1, "engine": engine}, "clients": {"number": 5, "per_round": 3},
                  "data": {"partition": "dirichlet"}, "model": {"name": "softmax"},
                  "optimizer": {"lr": 1e-9}, "algorithm": {"name": ByLoss}}
    with fedmpi.run(experiment, out=tmp_path / "out.h5") as run:
        rows = run.clients
        found = [LOSSES[client] for client in rows["client"]]
        np.testing.assert_allclose(found, rows["train_loss"], rtol=1e-5)


def test_a_method_without_clients_says_that_it_needs_their_loss():
    setting = SimpleNamespace(layout=None, loss=None)
    with pytest.raises(ConfigError, match=r"needs the loss of clients, .*; run the method by"):
        ByLoss(None, setting).loss(0, np.zeros(3, np.float32))
