"""Which engine trains a model."""

import numpy as np

from fedmpi.learn.engine import TorchEngine
from fedmpi.learn.layout_of import layout_of


def engine_of(module, sample, trainer, threads):
    """Return the engine for a torch module and its first weights, float32[P].

    Parameters
    ----------
    module : torch.nn.Module
        Taken over by the engine.
    sample : array [1, ...]
        One input.
    trainer : "auto", "torch" or "numba"
    threads : int
        Torch threads of this process.
    """
    engine = TorchEngine(module, layout_of(module, np.asarray(sample)), threads)
    return engine, engine.weights.copy()
