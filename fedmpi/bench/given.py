"""Write the files from which other programs train the same clients: a folder of plain files.

    setting.json   rounds, clients, per_round, epochs, batch, lr
    x_train.npy    float32[N, 1, 28, 28], normalised as fedmpi does
    y_train.npy    int64[N]; x_test.npy, y_test.npy likewise
    index.npy      int64[N], the samples of client 0, then those of client 1, ...
    starts.npy     int64[clients + 1], where each client begins in index.npy
    cohorts.npy    int64[rounds, per_round], the cohorts that fedmpi draws
    weights.npz    the first weights, by the names of the tensors
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray
from fedmpi.comm.base import Serial
from fedmpi.errors import ConfigError
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.execute import parameters
from fedmpi.experiment.resolve import Resolved
from fedmpi.round.synchronous import Synchronous


def write(folder: Path, resolved: Resolved, root: Path | None, cache: Path | None) -> None:
    """Write the files for a Resolved experiment on images into `folder` (a Path).

    `root` and `cache` are as for `assemble`, whose errors are raised. Raises ConfigError if clients
    draw their samples when they train, since there are no arrays of samples then.
    """
    experiment = assemble(resolved, Serial(), root, cache)
    data, config = experiment.engine.data, experiment.config
    if data.draw:
        raise ConfigError(f"data.name = {config.data.name!r}: clients draw their samples when they "
                          "train; other programs need a data set of arrays, such as 'patterns'")
    parts = [data.partition.of(client) for client in range(config.clients.number)]
    rounds, cohorts = range(config.run.rounds), Synchronous(experiment)
    arrays: dict[str, AnyArray] = {
        "index": np.concatenate(parts),
        "starts": np.cumsum([0, *map(len, parts)]),
        "cohorts": np.array([cohorts.cohort({}, round, 0.0).clients for round in rounds]),
    }
    for name, samples in (("train", data.samples), ("test", experiment.test)):
        arrays[f"x_{name}"], arrays[f"y_{name}"] = samples.take(np.arange(len(samples)))
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    named: dict[str, Any] = dict(parameters(experiment.layout, experiment.weights))
    np.savez(folder / "weights.npz", **named)
    setting = {
        "rounds": config.run.rounds,
        "clients": config.clients.number,
        "per_round": config.selected,
        "epochs": data.local.epochs,
        "batch": data.local.batch_size,
        "lr": data.local.lr,
    }
    (folder / "setting.json").write_text(json.dumps(setting))
