"""The engine of a run, made from its name or chosen by a rule."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Vector
from fedmpi.errors import ConfigError
from fedmpi.learn.batched.deterministic import exact
from fedmpi.learn.batched.engine import BatchedEngine
from fedmpi.learn.batched.first_pass import many_of
from fedmpi.learn.batched.width import width_of
from fedmpi.learn.debug import DebugEngine, Reference
from fedmpi.learn.engine import ClientData, Engine, OnDevice, nothing
from fedmpi.learn.fast.kernel_gradients import KernelGradients
from fedmpi.learn.fast.rule import choose
from fedmpi.learn.fast.step import Unsupported
from fedmpi.learn.gradients import Gradients
from fedmpi.learn.layout_of import layout_of
from fedmpi.learn.networks import Networks
from fedmpi.learn.one_by_one import KernelsEngine, OneByOne, TorchEngine
from fedmpi.learn.torch_gradients import TorchGradients


def engine_for(
    make: Callable[[dict[str, Any]], nn.Module],
    sample: AnyArray,
    data: ClientData,
    name: str,
    threads: int = 1,
    on_step: Callable[[], None] = nothing,
    torch_only: bool = False,
    on: OnDevice | None = None,
    width: int = 0,
) -> Engine:
    """Return the engine of a run.

    Parameters
    ----------
    make : callable
        make(options) -> a new torch module of the model; `options` is a dict of its own options.
    sample : array [1, ...]
        One input.
    data : ClientData
    name : "auto", "kernels", "torch", "batched" or "debug"
        "auto" chooses for each network that clients train, by the shapes of the model and the
        batch and by `width` (fast/rule.py).
    threads : int
        Torch threads of this process.
    on_step : callable
        Called after each step.
    torch_only : bool
        Whether only torch can do what the method needs; then "kernels" gives "torch".
    on : OnDevice, optional
        The device of the batched engine; on a GPU "auto" is the batched engine.
    width : int
        Number of float32 in a vector register, on which "auto" bases its choice. It is that of the
        run's first rank, so that all ranks choose the same; 0 stands for that of this process.

    Raises
    ------
    ConfigError
        If `name` is "kernels" and there are none for this model, or the model has no valid layout.
    """
    sample = np.asarray(sample)
    if name == "debug":
        networks = Networks(make, sample, partial(_reference, sample=sample, data=data))
        return DebugEngine(networks, data, on_step)
    on = on or OnDevice()
    if name == "batched" or (name == "auto" and on.device != "cpu"):
        return _batched(make, sample, data, on_step, on)
    name = "torch" if torch_only else name
    width = width or kernels.lanes.WIDTH
    backend = partial(
        backend_of, sample=sample, name=name, threads=threads, data=data, width=width
    )
    networks = Networks(make, sample, backend)
    by_kernels = isinstance(networks.whole.backend, KernelGradients)
    kind: type[OneByOne] = KernelsEngine if by_kernels else TorchEngine
    return kind(networks, data, on_step)


def _batched(
    make: Callable[[dict[str, Any]], nn.Module],
    sample: AnyArray,
    data: ClientData,
    on_step: Callable[[], None],
    on: OnDevice,
) -> BatchedEngine:
    torch.set_num_threads(1)  # if threads shared the slots, bits would depend on the slot
    many = partial(
        many_of, sample=sample, device=on.device, precision=on.precision, stacked=on.stacked,
        labels=data.labels, loss=data.loss,
    )  # fmt: skip
    with exact():
        networks = Networks(make, sample, many)
    layout = networks.whole.layout
    width = on.chunk or width_of(layout, data.local.batch_size, on.selected, on.device)
    return BatchedEngine(networks, data, on_step, width)


def _reference(
    module: nn.Module, sample: AnyArray, data: ClientData
) -> tuple[Reference, Vector]:
    reference = Reference(module, layout_of(module, sample, data.labels))
    return reference, reference.initial


def backend_of(
    module: nn.Module, sample: AnyArray, name: str, threads: int, data: ClientData, width: int
) -> tuple[Gradients, Vector]:
    """Return the backend of a module and its initial weights.

    Arguments and errors are those of `engine_for`, but `name` is not "debug".
    """
    layout = layout_of(module, sample, data.labels)
    shape, batch_size = sample.shape[1:], data.local.batch_size
    why = ""
    if name == "auto":
        name, why = choose(module, layout, shape, batch_size, width)
    backend: Gradients
    if name == "torch":
        backend = TorchGradients(module, layout, threads)
    else:
        try:
            backend = KernelGradients.of(module, layout, shape, batch_size)
        except Unsupported as reason:
            raise ConfigError(
                f"run.engine = 'kernels': there are no kernels for this model: {reason}; "
                "use 'auto' or 'torch'"
            ) from None
    backend.reason = why
    return backend, backend.weights.copy()
