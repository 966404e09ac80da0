"""Which engine trains a model."""

import numpy as np

from fedmpi.errors import ConfigError
from fedmpi.learn.engine import TorchEngine
from fedmpi.learn.fast.chain import Unsupported
from fedmpi.learn.fast.engine import FastEngine
from fedmpi.learn.fast.rule import choose
from fedmpi.learn.layout_of import layout_of


def engine_of(module, sample, trainer, threads, batch_size):
    """Return the engine for a torch module and its first weights, float32[P].

    Parameters
    ----------
    module : torch.nn.Module
        Taken over by the engine.
    sample : array [1, ...]
        One input.
    trainer : "auto", "torch" or "numba"
        "auto" goes by the shapes of the model and the batch (fast/rule.py).
    threads : int
        Torch threads of this process.
    batch_size : int
        Of the clients.

    Raises
    ------
    ConfigError
        If the kernels are asked for and there are none for this model.
    """
    sample = np.asarray(sample)
    layout, shape = layout_of(module, sample), sample.shape[1:]
    if trainer == "auto":
        name, _ = choose(module, layout, shape, batch_size)
        trainer = "numba" if name == "fast" else "torch"
    if trainer == "torch":
        engine = TorchEngine(module, layout, threads)
    else:
        engine = _fast(module, layout, shape)
    return engine, engine.weights.copy()


def _fast(module, layout, shape):
    try:
        return FastEngine(module, layout, shape)
    except Unsupported as reason:
        raise ConfigError(
            f"run.trainer = 'numba': there are no kernels for {reason}; use 'auto' or 'torch'"
        ) from None
