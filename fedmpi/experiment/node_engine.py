"""The engine of each rank: built with torch once on a node where the others can be told of it.

Most of what a start asks of a file system is the import of torch. With the engine "kernels" the
first rank of each node builds model, layout and first weights, and tells them to the others, which
never import torch unless a client trains a part of the model.
"""

from contextlib import nullcontext

from fedmpi import named
from fedmpi.comm.alike import alike
from fedmpi.learn.fast.told import hear, tell
from fedmpi.learn.models import build
from fedmpi.learn.networks import Network, Networks
from fedmpi.learn.one_by_one import KernelsEngine


def node_engine(resolved, comm, classes, sample, data, on_step):
    """Return the Engine of a run on this rank; collective over `comm`.

    Parameters
    ----------
    resolved : Resolved
    comm : Comm
    classes : int
    sample : array [1, ...]
        One input.
    data : ClientData
    on_step : callable
        Called after each step.
    """
    config = resolved.config
    gates = resolved.algorithm.gates(resolved.algorithm_keys)
    engine, told = None, {}

    def make(options):
        keys = resolved.model_keys | options
        module = build(config.model.name, sample.shape[1:], classes, keys, data.seed)
        return module if gates is None else _gated(module, gates, data.seed)

    with alike(comm):
        if comm.node_rank == 0:
            engine = _built(resolved, make, sample, data, on_step)
    if isinstance(engine, KernelsEngine):
        told = tell(engine.gradients, engine.initial_weights)
    told = comm.copy_on_node(told if comm.node_rank == 0 else None)
    with alike(comm):
        if engine is not None:
            return engine
        if not told:
            return _built(resolved, make, sample, data, on_step)
        whole = Network(hear(told, data.local.batch_size), told["weights"])
        networks = Networks(make, sample, _PartBackends(sample, config.run, data), whole)
        return KernelsEngine(networks, data, on_step)


def _built(resolved, make, sample, data, on_step):
    """Return an Engine, with its model, by torch."""
    from fedmpi.learn.engines import engine_for

    name, run = resolved.config.model.name, resolved.config.run
    with named.blamed(f"model.name = {name!r}") if ":" in name else nullcontext():
        return engine_for(
            make, sample, data, run.engine, run.threads_per_rank, on_step,
            resolved.algorithm.torch_only,
        )  # fmt: skip


def _gated(module, gates, seed):
    from fedmpi.learn.gates import gated

    return gated(module, gates, seed)


class _PartBackends:
    """Makes the backends of parts of the model when a client first trains one; needs torch."""

    def __init__(self, sample, run, data):
        self._sample, self._run, self._data = sample, run, data

    def __call__(self, module):
        from fedmpi.learn.engines import backend_of

        run = self._run
        return backend_of(module, self._sample, run.engine, run.threads_per_rank, self._data)
