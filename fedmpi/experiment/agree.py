"""Digests of a run's inputs: equal on all ranks, and compared when a run is resumed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from sys import modules
from typing import Any

import numpy as np

from fedmpi import user_code
from fedmpi.arrays import Vector
from fedmpi.comm.base import Comm
from fedmpi.errors import AlikeError
from fedmpi.experiment.resolve import Resolved
from fedmpi.record.digest import weights_sha256
from fedmpi.round.fixed import Experiment

INSTALLED = ("site-packages", "dist-packages")  # folders of packages of all kinds
_ROW = np.dtype([("rank", "<i8"), ("what", "S64"), ("digest", "S64")])
_HINTS = {
    "layout": "a model must have the same layers on every rank",
    "frozen weights": "a model may draw random numbers only from torch, numpy and random",
    "data": "the files differ between nodes, or a data set draws random numbers without a fixed "
            "seed",
    "final weights": "a method may draw random numbers only from self.rng_for, and must keep "
                     "nothing on self between calls",
}


def digests_of(experiment: Experiment, comm: Comm) -> dict[str, str]:
    """Return hex digests by name: partition, layout, frozen weights, and per node the data."""
    partition = experiment.engine.data.partition
    layout = [(tensor.name, tensor.shape) for tensor in experiment.layout.tensors]
    found = {
        "partition": weights_sha256(partition.arrays()),
        "layout": hashlib.sha256(repr(layout).encode()).hexdigest(),
    }
    if experiment.engine.constants:
        found["frozen weights"] = weights_sha256(experiment.engine.constants)
    if comm.node_rank == 0:  # all its ranks share the arrays
        found["data"] = weights_sha256(experiment.dataset.arrays())
    return found


def code_of(resolved: Resolved) -> dict[str, str]:
    """Return hex digests of the user's modules that a configuration names, by module.

    Other modules imported from the same folders are included, unless packages are installed there.
    """
    names = {name.partition(":")[0] for _, name in user_code.names_in(resolved.values())}
    if not names:
        return {}
    paths = {name: Path(path) for name, module in sorted(modules.items())
             if (path := getattr(module, "__dict__", {}).get("__file__"))}
    folders = {folder for name in names & paths.keys()
               if (folder := paths[name].parent).name not in INSTALLED}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in paths.items()
        if path.is_file() and (name in names or (path.parent in folders and name != "__main__"))
    }


def agree_on_weights(comm: Comm, weights: Vector) -> None:
    """Raise AlikeError on all ranks unless their final float32[P] are the same; collective."""
    if comm.size > 1:
        agree(comm, {"final weights": weights_sha256({"weights": weights})})


def agree(comm: Comm, digests: Mapping[str, str]) -> None:
    """Raise AlikeError on all ranks unless the ranks' digests agree; collective."""
    mine = [(comm.rank, what.encode(), digest.encode()) for what, digest in digests.items()]
    rows = comm.gather_rows(np.array(mine, _ROW))
    for what in np.unique(rows["what"]):
        given = rows[rows["what"] == what]
        other = given[given["digest"] != given["digest"][0]]
        if len(other):
            name = what.decode()
            raise AlikeError(
                f"the {name} of rank {given['rank'][0]} and of rank {other['rank'][0]} differ: "
                f"{_HINTS[name]}"
            )


def changed(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the differences between two trees of facts, at the run's start and now, as texts.

    Facts that were not recorded at the start are not compared.
    """
    return [
        f"{what} ({str(recorded[what])[:40]} then, {str(value)[:40]} now)"
        for what, value in sorted(now.items())
        if what in recorded and str(recorded[what]) != str(value)
    ]
