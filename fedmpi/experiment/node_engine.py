"""The engine of each rank: built with torch once on a node, and sent to the node's other ranks.

The import of torch causes most of the load of a start on the file system. With the engine "kernels"
the first rank of each node builds model, layout and first weights, or finds them in the user's
cache, and sends them to the others. A rank that receives them does not import torch unless a client
trains a part of the model.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from fedmpi import kernels, user_code
from fedmpi.arrays import AnyArray, Vector
from fedmpi.comm.alike import alike
from fedmpi.comm.base import Comm
from fedmpi.config import Config, RunSection
from fedmpi.experiment.model_cache import ModelCache
from fedmpi.experiment.resolve import Resolved
from fedmpi.learn.engine import ClientData, Engine, OnDevice
from fedmpi.learn.fast.serialise import deserialised
from fedmpi.learn.gradients import Gradients
from fedmpi.learn.losses import LOSSES
from fedmpi.learn.models import build
from fedmpi.learn.networks import Network, Networks
from fedmpi.learn.one_by_one import KernelsEngine
from fedmpi.learn.sample_arrays import Samples
from fedmpi.plan import GATES


def node_engine(
    resolved: Resolved, comm: Comm, classes: int, data: ClientData, test: Samples,
    on_step: Callable[[], None], cache: Callable[[Mapping[str, Any]], ModelCache],
) -> Engine:
    """Return the Engine of a run on this rank; collective over `comm`.

    Parameters
    ----------
    resolved : Resolved
    comm : Comm
    classes : int
    data : ClientData
    test : Samples
    on_step : callable
        Called after each step.
    cache : callable
        Returns the ModelCache of the facts that a model depends on.
    """
    sample, _ = one_of(data, test)
    make = partial(_module, resolved, sample.shape[1:], classes, data.seed)
    # Nodes may have different processors; all ranks choose the engine by that of rank 0.
    width = comm.share(kernels.lanes.WIDTH)
    building = partial(_built, resolved, comm, make, sample, data, on_step, width)
    if not _can_be_sent(resolved):
        with alike(comm):
            return building()
    engine, model = None, {}
    with alike(comm):
        if comm.node_rank == 0:
            cached = cache(_facts(resolved, sample, classes, data, width))
            model = cached.read()
            engine = None if model else building()
    if isinstance(engine, KernelsEngine) and not engine.constants:
        model = cached.write(engine.gradients, engine.initial_weights)
    model = comm.copy_on_node(model if comm.node_rank == 0 else None)
    if model and comm.node_size > 1:
        kernels.first_step.warm_share(comm.node_rank, comm.node_size)
    with alike(comm):
        if engine is not None:
            return engine
        if not model:
            return building()
        whole = Network(deserialised(model, data.local.batch_size), model["weights"])
        backends = partial(_part_backend, sample, resolved.config.run, data, width)
        networks = Networks(make, sample, backends, whole)
        return KernelsEngine(networks, data, on_step)


def one_of(data: ClientData, test: Samples) -> tuple[AnyArray, AnyArray]:
    """Return (x, y) of a sample: of ClientData, or of the test Samples if clients draw theirs."""
    samples = data.samples if len(data.samples) else test
    x, y = samples.take(np.zeros(1, np.int64))
    return x, y


def _can_be_sent(resolved: Resolved) -> bool:
    """Return whether the engine may be "kernels", without frozen values, which cannot be sent.

    The answer depends only on the configuration, so it is the same on all ranks.
    """
    run, model = resolved.config.run, resolved.config.model
    changed = model.base is not None or model.adapter is not None or len(model.frozen)
    kernels = run.engine == "kernels" or (run.engine == "auto" and run.device != "cuda")
    tokens = LOSSES.find(model.loss).target == "tokens"  # no kernels for models of tokens
    return kernels and not changed and not tokens and not resolved.algorithm.torch_only


def _facts(
    resolved: Resolved, sample: AnyArray, classes: int, data: ClientData, width: int
) -> dict[str, Any]:
    """Return the facts of a ModelCache: the configuration and data that determine the model."""
    config, gates = resolved.config, resolved.algorithm.gates(resolved.algorithm_keys)
    return {
        "model": [config.model.name, resolved.model_keys, gates and asdict(gates), data.seed],
        "data": [sample.shape[1:], sample.dtype.str, classes, data.labels],
        "engine": [config.run.engine, data.loss, data.local.batch_size, width],
    }


def _module(
    resolved: Resolved, shape: tuple[int, ...], classes: int, seed: int, options: dict[str, Any]
) -> Any:
    """Return a new torch module of a run's model, with more `options` for this module."""
    model, gates = resolved.config.model, resolved.algorithm.gates(resolved.algorithm_keys)
    ratio = options.pop(GATES, None)
    module = build(model.name, shape, classes, resolved.model_keys | options, seed)
    if model.base is not None:
        from fedmpi.learn.base_weights import load_base  # as below, without torch until it is used

        load_base(module, model.base)
    if model.adapter is not None:
        from fedmpi.learn.lora import adapt

        adapt(module, model.adapter, seed)
    if model.frozen:
        from fedmpi.learn.constants import freeze

        freeze(module, model.frozen)
    if gates is None:
        return module
    from fedmpi.learn.gates import gated

    return gated(module, gates if ratio is None else replace(gates, ratio=ratio), seed, shape)


def _built(
    resolved: Resolved, comm: Comm, make: Callable[[dict[str, Any]], Any], sample: AnyArray,
    data: ClientData, on_step: Callable[[], None], width: int,
) -> Engine:
    """Return an Engine and its model, built by torch."""
    from fedmpi.learn.engines import engine_for
    from fedmpi.learn.fitness import check_last

    name, run = resolved.config.model.name, resolved.config.run
    on = _on_device(resolved.config, comm)
    with user_code.config_error_at(f"model.name = {name!r}") if ":" in name else nullcontext():
        engine = engine_for(
            make, sample, data, run.engine, run.threads_per_rank, on_step,
            resolved.algorithm.torch_only, on, width,
        )  # fmt: skip
        check_last(partial(make, {}), sample, data.loss)
    return engine


def _on_device(config: Config, comm: Comm) -> OnDevice:
    """Return the device on which this rank computes, and its settings."""
    from fedmpi.learn.gpus import device_for

    run = config.run
    device = device_for(run.device, comm.node_rank, comm.node_size)
    return OnDevice(device, run.chunk, run.precision, config.selected)


def _part_backend(
    sample: AnyArray, run: RunSection, data: ClientData, width: int, module: Any
) -> tuple[Gradients, Vector]:
    """Return the backend of a part of the model, as a client first trains it; needs torch."""
    from fedmpi.learn.engines import backend_of

    return backend_of(module, sample, run.engine, run.threads_per_rank, data, width)
