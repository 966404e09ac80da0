"""A model of your own: a torch module, made by a function.

    python my_model.py
    mpiexec -n 2 python my_model.py
    fedmpi run exp.toml -o out.h5 --set model.name=my_model:my_model --set model.width=16
"""

from torch import nn

import fedmpi


@fedmpi.model
def my_model(input_shape, classes, width=8):
    """Return a convolution and a linear layer for images [channels, height, width]."""
    channels, height, breadth = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(width * (height // 2) * (breadth // 2), classes),
    )


EXPERIMENT = {
    "run": {"rounds": 10},
    "clients": {"number": 10, "per_round": 5},
    "model": {"name": my_model, "width": 4},
}

if __name__ == "__main__":
    run = fedmpi.run(EXPERIMENT, out="my_model.h5", overwrite=True)
    print(f"accuracy {run.rounds.test_accuracy[-1]:.3f}")
