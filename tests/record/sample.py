"""Result files for tests: small, plausible, and the same for the same arguments."""

import numpy as np

from fedmpi.record import schema
from fedmpi.record.digest import weights_sha256
from fedmpi.record.writer import Writer

LAYERS = ("conv1", "fc1", "fc2")
TOML = '[run]\nname = "sample"  # größer\n'


def fixed(clients=6, ranks=2, name="sample", algorithm="fedavg", seed=1):
    """Return the arguments of Writer.create but the path."""
    return {
        "config_toml": TOML,
        "resolved": {"run": {"name": name, "seed": seed}, "algorithm": {"name": algorithm}},
        "provenance": {"libraries": {"numpy": np.__version__}, "hosts": ["a", "b"], "job": None},
        "partition_counts": np.arange(clients * 10).reshape(clients, 10),
        "devices": {"tier": ["fast", "slow"] * (clients // 2), "flops_per_s": np.ones(clients)},
        "layer_names": LAYERS,
        "ranks": ranks,
    }


def one_round(number, cohort=4, ranks=2, cost=1.0, accuracy=None):
    """Return the arguments of Writer.append; every value is a function of the arguments.

    A round lasts 10 * cost virtual seconds, and each client sends 1000 * cost bytes up
    and receives 2000 bytes.
    """
    up, seconds = int(1000 * cost), 10.0 * cost
    row = {column.name: 0 for column in schema.ROUNDS}
    row |= {
        "round": number,
        "virtual_time": seconds * (number + 1),
        "wall_time": 0.5 * number,
        "test_accuracy": 1 - 0.9 ** (number + 1) if accuracy is None else accuracy,
        "clients_selected": cohort,
        "clients_completed": cohort,
        "bytes_down": 2000 * cohort,
        "bytes_up": up * cohort,
        "memory_peak": 400e6 + 1e6 * number,
    }
    clients = {column.name: np.zeros(cohort, int) for column in schema.CLIENTS}
    clients |= {
        "round": np.full(cohort, number),
        "client": np.arange(cohort) + number % 3,
        "bytes_down": np.full(cohort, 2000),
        "bytes_up": np.full(cohort, up),
        "train_loss": np.full(cohort, 0.25),
        "status": np.arange(cohort) % len(schema.CLIENT_STATUS),
    }
    phases = np.full((len(schema.PHASES), ranks), float(number))
    layers = len(LAYERS)
    split = {"kept": np.full(layers, 0.5), "bytes_down": np.arange(layers),
             "bytes_up": np.full(layers, number)}
    return row, clients, phases, split


def weights(seed=0):
    """Return a small model {parameter: array}."""
    rng = np.random.default_rng(seed)
    return {"conv1.weight": rng.normal(size=(3, 2)).astype(np.float32),
            "conv1.bias": rng.normal(size=3).astype(np.float32)}


def write(path, **asked):
    """Write the result file that `made` describes and return its path.

    A file takes a tenth of a second, so equal files are written once and then copied.
    """
    key = repr(sorted(asked.items()))
    if key in _WRITTEN:
        path.write_bytes(_WRITTEN[key])
    else:
        _WRITTEN[key] = made(path, **asked).read_bytes()
    return path


_WRITTEN = {}  # the bytes of files by the arguments of `write`


def made(path, rounds=5, status="finished", cost=1.0, accuracy=None, cohort=4, **names):
    """Write a result file with `rounds` rounds by a Writer and return its path.

    accuracy gives the test accuracies, cost scales bytes and seconds (see one_round), `names`
    goes to `fixed`.
    """
    writer = Writer.create(path, **fixed(**names))
    ranks = names.get("ranks", 2)
    for number in range(rounds):
        value = None if accuracy is None else accuracy[number]
        writer.append(*one_round(number, cohort, ranks, cost, value))
    model = weights() if status == "finished" else None
    writer.finish(status, model, model and weights_sha256(model))
    return path
