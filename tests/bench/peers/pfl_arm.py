"""pfl 0.6.0:  python -m torch.distributed.run --standalone --nproc_per_node=4 pfl_arm.py FOLDER OUT

Simulated backend over gloo, weights by samples, a sampler that reuses clients as little as
possible (its `random` one draws with replacement). pfl draws its own cohorts.
"""

import logging
import os
import types
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from given import given
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel


def loss(self, x, y, eval=False):
    """Mean cross-entropy of a batch, as pfl asks for it."""
    self.eval() if eval else self.train()
    return F.cross_entropy(self(x), y)


@torch.no_grad()
def metrics(self, x, y, eval=True):
    """Right answers of a batch, as pfl asks for them."""
    return {"accuracy": Weighted((self(x).argmax(1) == y).sum().item(), len(y))}


class Marks(TrainingProcessCallback):
    """Notes when each round ends."""

    def __init__(self):
        self.marks = [perf_counter()]

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        """Note one."""
        self.marks.append(perf_counter())
        return False, Metrics()


def main():
    """Run the rounds; rank 0 writes the results."""
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - pfl draws from it
    task, marks = given(), Marks()
    sizes = {client: len(task.part(client)[1]) for client in range(task.clients)}
    train = FederatedDataset(
        lambda client: Dataset(task.part(client), user_id=str(client)),
        get_user_sampler("minimize_reuse", list(sizes)),
        user_id_to_weight=sizes,
    )
    net = task.model()
    net.loss, net.metrics = types.MethodType(loss, net), types.MethodType(metrics, net)
    model = PyTorchModel(net, torch.optim.SGD, torch.optim.SGD(net.parameters(), lr=1.0))
    FederatedAveraging().run(
        # Evaluated in the first round only, which is not counted.
        algorithm_params=NNAlgorithmParams(task.rounds, 10**9, task.per_round, 0),
        backend=SimulatedBackend(train, train, postprocessors=[WeightByDatapoints()]),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=task.epochs,
            local_learning_rate=task.lr,
            local_batch_size=task.batch,
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=1000),
        callbacks=[marks],
    )
    if os.environ.get("RANK", "0") == "0":
        net.eval()
        task.hand_back(marks.marks, net)


if __name__ == "__main__":  # pfl starts a process of its own for sampling
    main()
