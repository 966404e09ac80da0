"""Check, before the first round, that a model runs as a smaller network without some rows."""

import numpy as np

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import AnyArray, Bools
from fedmpi.errors import ConfigError
from fedmpi.layout import Layer
from fedmpi.learn.engine import Engine
from fedmpi.plan import Own, Submodel
from fedmpi.units import narrowed


def check_narrowing(engine: Engine, algorithm: Algorithm, sample: AnyArray) -> None:
    """Raise ConfigError if the method removes rows that the model cannot lose.

    If layers lose different rows, the outputs of a smaller network for `sample` [1, ...] must be
    those of the whole model without the weights of these rows. They are others if layers are added
    up, as in a residual network.
    """
    layers = engine.layout.layers
    if not algorithm.narrows or len(layers) < 2:
        return
    apart = algorithm.narrows == "apart"
    first, rows = False, []  # whether the next layer loses its first row, or its last
    for layer in layers[:-1]:
        rows.append(_without_one(layer, first))
        first = apart and (first if layer.kind == "norm" else not first)
    rows.append(np.ones(layers[-1].rows, bool))
    part = Submodel.of_rows(rows)
    weights = engine.initial_weights
    found = engine.own_outputs(Own(weights, part), sample)
    if not apart:
        return
    kept = narrowed(engine.layout, rows) != 0
    wanted = engine.outputs(np.where(kept, weights, np.float32(0)), sample)
    if not np.allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max()):
        raise ConfigError(
            "model: does not compute the same without some of its channels, so its layers are not "
            f"a plain chain; algorithm {algorithm.name} removes other channels from each layer, "
            "and needs a chain, such as lenet5, mlp or vgg11"
        )


def _without_one(layer: Layer, first: bool) -> Bools:
    """Return bool[rows]: all rows but the first or the last; a single row stays."""
    keep = np.ones(layer.rows, bool)
    if layer.rows > 1:
        keep[0 if first else -1] = False
    return keep
