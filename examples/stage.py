"""A stage of your own: a change to the message of every client, which any method can have.

    python my_stage.py
    mpiexec -n 2 python my_stage.py

In a TOML file:

    [[stage]]
    name = "my_stage:MyStage"
    limit = 0.01
"""

import numpy as np

import fedmpi


class MyStage(fedmpi.Stage):
    """Bounds every coordinate of a client's change; what is cut off joins the next message."""

    class Keys(fedmpi.Keys):
        """The keys in [[stage]] beside `name`."""

        limit: float = 0.01  # largest magnitude of a coordinate

    def client(self, job, parts, memory):
        """Return the parts as they go on, and the arrays that the stage keeps with the client."""
        part = parts["weights"]  # part.values is float32[P], the change of the weights
        change = part.values + memory.get("left", np.float32(0))
        sent = np.clip(change, -self.keys.limit, self.keys.limit)
        return {**parts, "weights": part._replace(values=sent)}, {"left": change - sent}


EXPERIMENT = {
    "run": {"rounds": 10},
    "clients": {"number": 10, "per_round": 5},
    "model": {"name": "mlp", "hidden": [16]},
    "stage": [{"name": MyStage, "limit": 0.05}],
}

if __name__ == "__main__":
    run = fedmpi.run(EXPERIMENT, out="my_stage.h5", overwrite=True)
    print(f"accuracy {run.rounds.test_accuracy[-1]:.3f}")
