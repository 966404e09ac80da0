"""A problem that trains in a blink: real digits, few clients, tiny networks, the real loop."""

from collections import OrderedDict
from functools import lru_cache

import numba
import numpy as np
from torch import nn

import fedmpi
from fedmpi.comm.base import Serial
from fedmpi.exchange import Job
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import of_tree, resolve
from fedmpi.experiment.stop import NoSignals
from fedmpi.round.loop import Simulation
from fedmpi.round.synchronous import Synchronous

# Without the compiler the kernels' engine would take minutes; it has tests of its own.
TRAINER = "torch" if numba.config.DISABLE_JIT else "auto"
TEXT = f"""
[run]
seed = 3
rounds = 4
engine = "{TRAINER}"
[data]
name = "digits"
partition = "dirichlet"
alpha = 0.5
[clients]
number = 12
per_round = 5
local_steps = 3
batch_size = 8
[optimizer]
lr = 0.05
momentum = 0.5
weight_decay = 1e-3
"""
HERE = "tests.algorithms.problem:"


@fedmpi.model
def convs(input_shape, classes):
    """Two small convolutions, the first with normalisation, and two linear layers; 766 weights."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 4, 3, padding=1),
            bn1=nn.BatchNorm2d(4),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(4, 6, 3, stride=2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(6, 8),
            relu3=nn.ReLU(),
            fc2=nn.Linear(8, classes),
        )
    )


@fedmpi.model
def plain(input_shape, classes):
    """A convolution and a linear layer, without normalisation; 2,610 weights on digits."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 4, 3, padding=1),
            relu1=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(4 * input_shape[1] * input_shape[2], classes),
        )
    )


def model_of(name):
    """Return the model that shows an algorithm at work."""
    return "tests.twins.net:levels" if name == "fedlp-hetero" else HERE + "convs"


def experiment(name, overrides=(), comm=None, **keys):
    """Return the Experiment of one algorithm with its `keys`."""
    model = next((o for o in overrides if o.startswith("model.name=")), "")
    words = [f"algorithm.name={name}", *([] if model else [f"model.name={model_of(name)}"])]
    words += [f"algorithm.{key}={_toml(value)}" for key, value in keys.items()]
    return assemble(resolve(TEXT, "test", [*words, *overrides]), comm or Serial(), None)


def assemble_tree(tree):
    """Return (Experiment, Serial, NoSignals) of a dict of sections."""
    return assemble(of_tree(tree), Serial(), None), Serial(), NoSignals()


def simulate(name, overrides=(), comm=None, **keys):
    """Return the Simulation of one algorithm after all its rounds, and the rows of its rounds."""
    made = experiment(name, overrides, comm, **keys)
    simulation = Simulation(made, comm or Serial(), NoSignals())
    rows = [simulation.round() for _ in range(made.config.run.rounds)]
    return simulation, rows


@lru_cache
def fedavg(*overrides):
    """Return what `simulate` gives for FedAvg."""
    return simulate("fedavg", overrides)


def trained(made, state, round, client, plan=None, share=1.0):
    """Return the Job of one client, by its own plan unless given, and its Report."""
    plan = made.algorithm.plan(state, round, client) if plan is None else plan
    job = Job(client, round, state, plan, share)
    (report,) = made.engine.train([job])
    return job, report


def cohort_of(made, round):
    """Return the Cohort of a synchronous round."""
    return Synchronous(made).cohort(made.algorithm.start(made.weights), round, 0.0)


def weights_of(simulation):
    """Return the global weights float32[P]."""
    return simulation.state["weights"]


def same_bits(one, other):
    """True if two float32 vectors are the same bits, negative zeros included."""
    return np.array_equal(one.view(np.uint32), other.view(np.uint32))


def _toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
