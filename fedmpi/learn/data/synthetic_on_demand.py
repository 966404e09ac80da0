"""Synthetic(a, b) for any number of clients: each client's samples are drawn when it trains.

The distribution is that of `synthetic` (T. Li et al., MLSys 2020; the sizes are LEAF's). A client
that does not train takes 2 bytes of memory, for the number of its samples. Choices made here:

- The sizes of all clients come from one stream, so that a million are drawn at once; models and
  inputs come from each client's own stream. Neither depends on the number of clients.
- `common` times a matrix of N(0, 1), the same for all clients, is added to each client's W_k and
  c_k. Without it, so many clients have nothing in common that a global model could learn.
- Each of the first `test_clients` clients draws its test samples after its training samples, a
  quarter as many (at least one).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedmpi.arrays import Integers, Vector
from fedmpi.learn.data.dataset import Dataset, OnDemand
from fedmpi.learn.data.synthetic import samples_of
from fedmpi.rng import rng_for


def synthetic_on_demand(
    root: Path | None, options: Mapping[str, Any], cache: Path | None = None
) -> Dataset:
    """Return Synthetic(a, b) on demand; needs no files. x is float32[n, inputs]."""

    shape = options["inputs"] + 1, options["classes"]
    common = options["common"] * rng_for(options["seed"], "common").standard_normal(shape)

    def sizes(clients: int) -> Integers:
        drawn = 5 + rng_for(options["seed"], "synthetic-sizes").lognormal(3, 2, clients)
        return np.minimum(drawn, 1000).astype(np.uint16)

    def draw(client: int, size: int) -> tuple[Vector, Integers]:
        rng = rng_for(options["seed"], "synthetic-on-demand", client=client)
        return samples_of(rng, options, size, common)

    tests = []
    for client, size in enumerate(sizes(options["test_clients"]).tolist()):
        x, y = draw(client, size + max(1, size // 4))
        tests.append((x[size:], y[size:]))
    x, y = (np.concatenate(part) for part in zip(*tests, strict=True))
    group = np.repeat(np.arange(len(tests)), [len(part) for _, part in tests])
    return Dataset.drawn(
        "synthetic-on-demand", "features", OnDemand(sizes, draw), (x, y), options["classes"], group
    )
