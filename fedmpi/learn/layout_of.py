"""The Layout of a torch module, and the views that tie the module to a flat vector."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from numpy.typing import ArrayLike
from torch import nn

from fedmpi.errors import ConfigError
from fedmpi.layout import Layer, Layout, Tensor
from fedmpi.learn.fitness import check_kinds, check_passes, check_tensors
from fedmpi.learn.kinds import BATCH_NORMS, is_frozen_norm, is_inner, kind_of, row_axis, rows_of
from fedmpi.learn.lora import Up
from fedmpi.learn.trace import Call, Trace

__all__ = ["bind", "flat_weights", "kind_of", "layer_modules", "layout_of", "own", "row_axis"]
_COUNTS = ("macs", "frozen", "products", "from_data", "from_itself")  # the counts of a Layer
COUNTER = "num_batches_tracked"  # only read by BatchNorm(momentum=None), which is refused


def layout_of(module: nn.Module, sample: ArrayLike | torch.Tensor, labels: int = 0) -> Layout:
    """Return the Layout of a module.

    Every module that has parameters of its own is a layer. Layers are in the order in
    which the forward pass reaches them. A BatchNorm that directly follows a convolution
    or linear layer with as many rows joins it, so a row is a filter with its bias and
    its normalisation. GroupNorm and LayerNorm depend on more than one row, so they are layers of
    their own. Running means and variances are tensors that are not trained. A module that is
    never called, but whose weights are used, is part of the layer around it.
    Recurrent layers, attention and transposed convolutions, whose units are not contiguous,
    and layers of unknown kind have one row.

    Parameters that need no gradient, buffers that are not float32 or not in the state dict, and
    the statistics of a BatchNorm with frozen weights are constants and are left out. A parameter
    that two modules share is a tensor of the module that is called first.

    Parameters
    ----------
    module : torch.nn.Module
        Its mode and running statistics are not changed.
    sample : array or torch.Tensor [1, ...]
        One input, which is run through the module.
    labels : int, optional
        The least number of outputs of a sample.

    Raises
    ------
    ConfigError
        If a parameter is unused or not float32, a buffer of another float type changes, or the
        forward pass fails, has too few outputs, or draws random numbers in evaluation mode.
    """
    sample = torch.as_tensor(sample).clone()  # the module may write to its input
    check_kinds(module)
    check_tensors(module)
    check_passes(module, sample, labels)
    trace = Trace(module, sample)
    laid_out = _Layers(module, _holders(module, trace))
    return laid_out.counted(trace)


def bind(
    module: nn.Module, layout: Layout, weights: torch.Tensor, grad: torch.Tensor | None = None
) -> None:
    """Make the parameters and running statistics of `module` views into `weights` float32[P].

    Afterwards, writing to `weights` loads the model, and training changes `weights`.
    With `grad` float32[P], the parameters' `.grad` are views into it as well.
    """
    for tensor in layout.tensors:
        owner, _, name = tensor.name.rpartition(".")
        block = tensor.block
        values = weights[block].view(tensor.shape)
        part = module.get_submodule(owner)
        if not tensor.trained:
            # `.data` has its own count of in-place changes. Otherwise the change of one statistic
            # would make autograd reject what another BatchNorm has saved of the same vector.
            setattr(part, name, values.data)
            continue
        parameter = getattr(part, name)
        parameter.data = values
        if grad is not None:
            parameter.grad = grad[block].view(tensor.shape)


def flat_weights(module: nn.Module, layout: Layout) -> torch.Tensor:
    """Return a new float32[P] torch vector of the module's parameters and running statistics."""
    state: dict[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    state |= dict(module.named_buffers(remove_duplicate=False))
    return torch.cat([state[name].detach().reshape(-1) for name in layout.names])


def layer_modules(module: nn.Module, layout: Layout) -> list[list[nn.Module]]:
    """Return the modules of each layer: the one that names it, then others with its tensors."""
    names = dict(module.named_modules())
    found = [[names[layer.name]] if layer.name in names else [] for layer in layout.layers]
    for tensor in layout.tensors:
        part = module.get_submodule(tensor.name.rpartition(".")[0])
        if part not in found[tensor.layer]:
            found[tensor.layer].append(part)
    return found


def own(part: nn.Module) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Yield (name, tensor, trained) of each tensor that a module has in the flat vector.

    These are its trained parameters and its running statistics.
    """
    for name, parameter in part.named_parameters(recurse=False):
        if parameter.requires_grad:
            yield name, parameter, True
    if is_frozen_norm(part):
        return
    for name, buffer in part.named_buffers(recurse=False):
        # A buffer that is not in the state dict is a constant, not part of the model.
        kept = name != COUNTER and name not in part._non_persistent_buffers_set
        if kept and buffer.dtype == torch.float32:
            yield name, buffer, False


def _holders(module: nn.Module, trace: Trace) -> dict[nn.Module, list[nn.Module]]:
    """Return {module: [modules whose tensors are in its layer]}, in the order of first calls.

    A module that is not called belongs to the layer of the nearest called module around it.
    Raises ConfigError for parameters that are not used.
    """
    called, names = set(trace.order), {part: name for name, part in module.named_modules()}
    held = {part: [part] for part in trace.order}
    idle = [part for part in names if part not in called and next(own(part), None)]
    used = _used(trace.output, [p for part in idle for _, p, trained in own(part) if trained])
    for part in idle:
        if not any(p in used for _, p, trained in own(part) if trained):
            raise ConfigError(
                f"model: the forward pass never calls {names[part]!r}, nor uses its weights; "
                "remove it, or freeze it"
            )
        around = names[part]
        while module.get_submodule(around) not in called:
            around = around.rpartition(".")[0]
        held[module.get_submodule(around)].append(part)
    return {part: parts for part, parts in held.items() if any(map(_has_tensors, parts))}


def _has_tensors(part: nn.Module) -> bool:
    """Return True if a module has tensors of its own, including constants."""
    return next(own(part), None) is not None or next(part.parameters(False), None) is not None


def _used(output: torch.Tensor, parameters: Sequence[torch.Tensor]) -> set[torch.Tensor]:
    """Return the parameters on which the output depends."""
    if not (parameters and output.requires_grad):
        return set()
    found = torch.autograd.grad(output.sum(), parameters, allow_unused=True)
    return {p for p, gradient in zip(parameters, found, strict=True) if gradient is not None}


@dataclass(eq=False)
class _Layers:
    """The layers of a module, built one after another.

    `held` is the result of `_holders`.
    """

    module: nn.Module
    held: dict[nn.Module, list[nn.Module]]
    layers: list[tuple[str, str, int]] = field(default_factory=list)  # name, kind, rows
    tensors: list[Tensor] = field(default_factory=list)
    number: dict[nn.Module, int] = field(default_factory=dict)  # index of each module's layer

    def __post_init__(self) -> None:
        self._names = {part: name for name, part in self.module.named_modules()}
        # The name of the layer of the module's own parameters.
        self._whole = "whole model" if "model" in self._names.values() else "model"
        self._seen: set[int] = set()  # ids of tensors
        previous: nn.Module | None = None
        for part, parts in self.held.items():
            if not any(True for p in parts for _ in self._new(p)):
                previous = None  # its weights are frozen, or shared with an earlier module
                continue
            if not self._joins(part, previous):
                weight = getattr(part, "weight", None)
                whole = weight is None or weight.requires_grad
                kind = kind_of(part) if whole else "other"
                self.layers.append((self._names[part] or self._whole, kind, rows_of(part)))
                previous = part
            self.number[part] = len(self.layers) - 1
            for one in parts:
                self._append(one)

    def _new(self, part: nn.Module) -> list[tuple[str, torch.Tensor, bool]]:
        return [found for found in own(part) if id(found[1]) not in self._seen]

    def _joins(self, part: nn.Module, previous: nn.Module | None) -> bool:
        """Return True if `part` shares the rows of the layer before it.

        Then it normalises a convolution or linear layer, or is the second half of an adapter.
        """
        if isinstance(part, Up):
            return kind_of(previous) == "adapter" and len(part.weight) == rows_of(previous)
        return (
            isinstance(part, BATCH_NORMS)
            and kind_of(previous) in ("conv", "linear")
            and part.num_features == rows_of(previous)
        )

    def _append(self, part: nn.Module) -> None:
        """Append the tensors of one module."""
        rows, prefix = self.layers[-1][2], self._names[part]
        for name, values, trained in self._new(part):
            self._seen.add(id(values))
            start = self.tensors[-1].start + self.tensors[-1].size if self.tensors else 0
            shape = tuple(values.shape)
            blocks = rows if shape and shape[0] == rows else 1
            whole = f"{prefix}.{name}" if prefix else name
            number = len(self.layers) - 1
            self.tensors.append(Tensor(whole, shape, number, start, blocks, trained))

    def counted(self, trace: Trace) -> Layout:
        """Return the Layout, with the multiply-adds of a Trace."""
        counts = [dict.fromkeys(_COUNTS, 0) for _ in range(len(self.layers) + 1)]
        latest = -1  # the last of the layers entered so far
        for call in trace.calls:
            layer = self.number.get(call.part)
            latest = latest if layer is None else max(latest, layer)
            for name, macs in call.weights.items():
                if not call.part.get_parameter(name).requires_grad:
                    counts[latest + 1 if layer is None else layer]["frozen"] += macs
                else:
                    _add(counts, call, layer, latest, macs, is_inner(call.part, name))
            counts[0]["frozen"] += call.fixed  # these need no gradient
            counts[layer if call.fed and layer is not None else latest + 1]["frozen"] += call.frozen
            known = layer is None or call.weights  # counted by a rule; the rest has no weights
            inner = 0 if known else call.inner
            _add(counts, call, None if known else layer, latest, call.rest - inner)
            _add(counts, call, layer, latest, inner, not call.fed)
        around = {self.number.get(part) for part in trace.ways.shortcuts}
        found = tuple(
            Layer(name, kind, rows, shortcut=layer in around, **numbers)
            for layer, ((name, kind, rows), numbers) in enumerate(
                zip(self.layers, counts, strict=False))
        )
        return Layout(tuple(self.tensors), found, counts[-1]["frozen"], self._uncounted(trace))

    def _uncounted(self, trace: Trace) -> tuple[str, ...]:
        return tuple(
            f"{operation} in {self._names[part] or 'the model'}"
            for part, operation in trace.uncounted.items()
            if kind_of(part) == "other"
        )


def _add(
    counts: list[dict[str, int]], call: Call, layer: int | None, latest: int, macs: int,
    inner: bool = False,
) -> None:
    """Add the multiply-adds of a Call to `counts`, in place.

    They belong to weights of `layer`; if it is None, they are products of values, and count for
    `latest`, the last layer that was entered. `inner` says whether the weights read the result of
    other weights of the module.
    """
    if layer is not None:
        counts[layer]["macs"] += macs
        counts[layer]["from_data"] += macs * (not (call.fed or inner))
        counts[layer]["from_itself"] += macs * (call.again or inner)
    elif latest >= 0:
        counts[latest]["products"] += macs
    else:
        counts[0]["frozen"] += macs  # nothing before it can be trained
