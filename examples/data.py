"""A data set of your own: numpy arrays, made by a function.

    python my_data.py
    mpiexec -n 2 python my_data.py
    fedmpi run exp.toml -o out.h5 --set data.name=my_data:my_data --set data.noise=0.2
"""

import numpy as np

import fedmpi


@fedmpi.dataset
def my_data(root, noise=0.1):
    """Return two half circles; `noise` is the standard deviation of the points around them.

    `root` is the folder of the data sets. Read your files there; these points need none.
    """
    rng = np.random.default_rng(0)  # a fixed seed: every rank must read the same data

    def draw(count):
        y = rng.integers(0, 2, count)
        angle = np.pi * rng.random(count)
        x = np.stack([np.cos(angle) + y, np.sin(angle) * (1 - 2 * y)], axis=1)
        return (x + noise * rng.standard_normal(x.shape)).astype(np.float32), y

    return fedmpi.Dataset.of("my_data", "features", draw(2000), draw(500), classes=2)


EXPERIMENT = {
    "run": {"rounds": 10},
    "data": {"name": my_data, "partition": "dirichlet", "alpha": 0.5},
    "clients": {"number": 10, "per_round": 5},
    "model": {"name": "mlp", "hidden": [16]},
}

if __name__ == "__main__":
    run = fedmpi.run(EXPERIMENT, out="my_data.h5", overwrite=True)
    print(f"accuracy {run.rounds.test_accuracy[-1]:.3f}")
