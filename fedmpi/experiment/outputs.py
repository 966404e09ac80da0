"""Check, with the outputs for one sample, that a model fits its loss."""

import numpy as np

from fedmpi.arrays import AnyArray
from fedmpi.errors import ConfigError
from fedmpi.learn.engine import Engine
from fedmpi.model_section import ModelSection

_OF_SOFTMAX = ("cross-entropy", "next-token", "softmax-quadratic", "softmax-linear")
"""The losses that apply a softmax to the outputs."""


def check_outputs(
    engine: Engine, model: ModelSection, classes: int, sample: tuple[AnyArray, AnyArray]
) -> None:
    """Raise ConfigError unless the outputs of a model fit its loss.

    They must have the shape of the targets, and must not be probabilities if the loss applies a
    softmax. `sample` are x and y of one sample.
    """
    x, y = sample
    outputs = engine.outputs(engine.initial_weights, x)
    found, wanted = outputs.shape, y.shape if y.dtype.kind == "f" else (*y.shape, classes)
    spare = y.dtype.kind == "i" and found[:-1] == wanted[:-1] and found[-1] > wanted[-1]
    if found != wanted and not spare:
        raise ConfigError(
            f"model.name = {model.name!r}: gives outputs of shape {_shape(found)}, but "
            f"model.loss = {model.loss!r} needs {_shape(wanted)} for these data"
        )
    if ":" in model.loss:
        from fedmpi.learn.loss_functions import check_own  # needs torch

        check_own(model.loss, outputs, y)
    if model.loss in _OF_SOFTMAX and found[-1] > 1 and _are_shares(outputs):
        raise ConfigError(
            f"model.name = {model.name!r}: gives probabilities, as a softmax does, and "
            f"model.loss = {model.loss!r} applies a second softmax, so it trains slowly; leave "
            "the softmax out of the model, or write a loss that takes probabilities"
        )


def _are_shares(outputs: AnyArray) -> bool:
    """Return whether each row of outputs [..., C] has the sum 1 and no negative number."""
    sums = outputs.sum(axis=-1, dtype=np.float64)
    return bool((outputs >= 0).all() and np.allclose(sums, 1, rtol=0, atol=1e-5))


def _shape(shape: tuple[int, ...]) -> str:
    """Return a shape in words, N for the number of samples."""
    return f"[{', '.join(['N', *map(str, shape[1:])])}]"
