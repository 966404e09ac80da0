"""Synthetic(a, b): every client has a linear model and an input distribution of its own.

T. Li et al., "Federated Optimization in Heterogeneous Networks" (FedProx), MLSys 2020,
arXiv:1812.06127, section 5.1, for client k:

    u_k ~ N(0, a)    W_k[i, j], c_k[j] ~ N(u_k, 1)       a: how much the models differ
    B_k ~ N(0, b)    v_k[i] ~ N(B_k, 1)                  b: how much the inputs differ
    x ~ N(v_k, diag(j^-1.2))    y = argmax(W_k x + c_k)

with 60 inputs and 10 classes. LEAF (S. Caldas et al., arXiv:1812.01097) builds its
Synthetic set on it. The choices made here, where the two differ or say nothing:

- a and b are standard deviations, as in the published code of Li et al.; their text
  reads as if they were variances.
- A client has min(5 + lognormal(3, 2), 1000) samples, which is LEAF's rule. Li et al. use
  50 + lognormal(4, 2) without a bound, so that one client may hold most of the data.
- LEAF draws the models around cluster centres instead, and adds N(0, 0.1) noise to the
  logits. Neither is done here: LEAF's published setting has one cluster and no (a, b).
- The last fifth of each client's samples is for testing (at least one).
- Each client draws from its own stream, so its data depend only on the seed and its
  number, not on the number of clients.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from fedmpi.arrays import Integers, Reals, Vector
from fedmpi.learn.data.dataset import Dataset
from fedmpi.rng import rng_for

_Half: TypeAlias = tuple[Vector, Integers]


def synthetic(
    root: Path | None, options: Mapping[str, Any], cache: Path | None = None
) -> Dataset:
    """Return Synthetic(a, b); needs no files. x is float32[N, inputs], groups are the clients."""
    parts = [_client(options, client) for client in range(options["clients"])]

    train, of_train = _joined([here for here, _ in parts])
    test, of_test = _joined([there for _, there in parts])
    return Dataset.of(
        "synthetic", "features", train, test, options["classes"], (of_train, of_test)
    )


def _client(options: Mapping[str, Any], client: int) -> tuple[_Half, _Half]:
    """Return ((x, y) for training, (x, y) for testing) of one client."""
    rng = rng_for(options["seed"], "synthetic", client=client)
    size = int(min(5 + rng.lognormal(3, 2), 1000))
    x, y = samples_of(rng, options, size)
    cut = size - max(1, size // 5)
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def samples_of(
    rng: np.random.Generator, options: Mapping[str, Any], size: int, common: Reals | float = 0.0
) -> _Half:
    """Return (float32[size, inputs], int64[size]), samples of the client whose stream is `rng`.

    `common` float64[inputs + 1, classes] is added to the client's model.
    """
    inputs, classes = options["inputs"], options["classes"]
    model = common + rng.normal(rng.normal(0, options["a"]), 1, (inputs + 1, classes))
    centre = rng.normal(rng.normal(0, options["b"]), 1, inputs)
    spread = np.arange(1, inputs + 1) ** -0.6  # standard deviations: variances are j^-1.2
    x = (centre + spread * rng.standard_normal((size, inputs))).astype(np.float32)
    return x, np.argmax(x @ model[:-1] + model[-1], axis=1)


def _joined(parts: Sequence[_Half]) -> tuple[_Half, Integers]:
    """Return (x, y) of all clients, and the client of each sample."""
    x, y = zip(*parts)
    group = np.repeat(np.arange(len(parts)), [len(part) for part in y])
    return (np.concatenate(x), np.concatenate(y)), group
