"""A rule of selection of your own: clients with the largest training loss are asked first.

    python my_selector.py
    mpiexec -n 2 python my_selector.py
    fedmpi run exp.toml -o out.h5 --set clients.selection=my_selector:MySelector

The idea is that of Cho, Wang and Joshi, "Towards Understanding Biased Client Selection in
Federated Learning", AISTATS 2022, without its random candidates.
"""

import numpy as np

import fedmpi


class MySelector(fedmpi.Selector):
    """Asks new clients first, then the clients with the largest loss in their last round."""

    learns = True  # so that `learn` is called

    def __init__(self, keys, seed, clients):
        super().__init__(keys, seed, clients)
        self._losses = np.full(clients, np.inf)

    def select(self, round, world, number, in_turn):
        """Return the ids of at most `number` clients; world.sizes is 0 for absent clients."""
        able = np.flatnonzero(world.sizes)
        return able[np.argsort(-self._losses[able], kind="stable")[:number]]

    def learn(self, rows):
        """Note the losses of a finished round; `rows` has the columns of /clients."""
        known = np.isfinite(rows["train_loss"])
        self._losses[rows["client"][known]] = rows["train_loss"][known]

    def arrays(self):
        """Return what a checkpoint must keep."""
        return {"losses": self._losses.copy()}

    def restore(self, arrays):
        """Continue from what `arrays` returned."""
        self._losses = arrays["losses"].copy()


EXPERIMENT = {
    "run": {"rounds": 10},
    "data": {"partition": "dirichlet", "alpha": 0.5},
    "clients": {"number": 10, "per_round": 5, "selection": MySelector},
    "model": {"name": "mlp", "hidden": [16]},
}

if __name__ == "__main__":
    run = fedmpi.run(EXPERIMENT, out="my_selector.h5", overwrite=True)
    print(f"accuracy {run.rounds.test_accuracy[-1]:.3f}")
