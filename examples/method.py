"""A method of your own: each client sends the layers that its training changed most.

    python my_method.py                    alone
    mpiexec -n 2 python my_method.py       the same bits on two ranks
    fedmpi check-method my_method:MyMethod
"""

import numpy as np

import fedmpi


class MyMethod(fedmpi.Algorithm):
    """Clients train all layers and send those that changed most."""

    level = "layer"  # the finest units that a client may leave out of its message

    class Keys(fedmpi.Keys):
        """The keys in [algorithm] beside `name`."""

        layers: int = 2  # layers that a client sends

    def plan(self, state, round, client):
        """Let the client receive and train the whole model."""
        everything = fedmpi.Support.all(self.layout)
        return fedmpi.Plan(down=everything, up=everything)

    def message(self, job, report):
        """Send the weights of the layers with the largest change."""
        starts = self.layout.starts("layer")  # layer l is the block starts[l] to starts[l + 1]
        change = np.square(report.weights - job.state["weights"])
        change = np.add.reduceat(change, starts[:-1])  # of each layer
        keep = np.zeros(len(change), np.uint8)
        keep[np.argsort(-change, kind="stable")[: self.keys.layers]] = 1
        support = fedmpi.Support(self.layout, "layer", keep)
        return {"weights": fedmpi.Part(report.weights, support)}


EXPERIMENT = {
    "run": {"rounds": 10},
    "clients": {"number": 10, "per_round": 5, "local_epochs": 2},
    "model": {"name": "mlp", "hidden": [32, 16]},
    "algorithm": {"name": MyMethod, "layers": 2},
}

if __name__ == "__main__":
    run = fedmpi.run(EXPERIMENT, out="my_method.h5", overwrite=True)
    print(f"accuracy {run.rounds.test_accuracy[-1]:.3f}, {run.rounds.bytes_up.sum():,} bytes up")
