"""From a torch module to the flat vector: its Layout, and views that tie the two together."""

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from fedmpi.errors import ConfigError
from fedmpi.layout import Layer, Layout, Tensor

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_COUNTER = "num_batches_tracked"  # only read by BatchNorm(momentum=None), which is refused


def layout_of(module, sample, labels=0):
    """Return the Layout of a module.

    Every module that has parameters of its own is a layer, in the order in which
    the forward pass comes to them. A BatchNorm that directly follows a convolution
    or linear layer with as many rows joins it, so a row is a filter with its bias and
    its normalisation. GroupNorm and LayerNorm look at more than a row, so they are layers of their
    own. Running means and variances are tensors that are not trained.
    An LSTM, whose hidden units are not contiguous, and a layer of unknown kind have
    one row. `macs` counts convolutions, linear layers and LSTMs; the rest is 0.

    Parameters
    ----------
    module : torch.nn.Module
        Left as it is: same mode, same running statistics.
    sample : array or torch.Tensor [1, ...]
        One input, which is run through the module.
    labels : int, optional
        The least number of outputs of a sample.

    Raises
    ------
    ConfigError
        Parameters that are shared, unused, frozen or not float32; buffers that are not
        float32; a forward pass that draws random numbers (dropout), fails, or has too few outputs.
    """
    sample = torch.as_tensor(sample)
    _check_kinds(module)
    _check_tensors(module)
    _check_draws(module, sample, labels)
    calls = _trace(module, sample)
    names = {part: name for name, part in module.named_modules()}
    layers, tensors = [], []
    previous = None
    for part, macs in calls.items():
        if not _joins(part, previous):
            layers.append(Layer(names[part] or "model", kind_of(part), _rows(part), macs))
            previous = part
        _append(tensors, part, names[part], len(layers) - 1, layers[-1].rows)
    return Layout(tuple(tensors), tuple(layers))


def bind(module, layout, weights, grad=None):
    """Make the parameters and running statistics of `module` views into `weights` float32[P].

    From then on, writing `weights` loads the model and training changes `weights`.
    With `grad` float32[P], the parameters' `.grad` are views into it as well.
    """
    for tensor in layout.tensors:
        owner, _, name = tensor.name.rpartition(".")
        block = slice(tensor.start, tensor.start + tensor.size)
        values = weights[block].view(tensor.shape)
        part = module.get_submodule(owner)
        if not tensor.trained:
            setattr(part, name, values)
            continue
        parameter = getattr(part, name)
        parameter.data = values
        if grad is not None:
            parameter.grad = grad[block].view(tensor.shape)


def flat_weights(module, layout):
    """Return a new float32[P] torch vector of the module's parameters and running statistics."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return torch.cat([state[name].detach().reshape(-1) for name in layout.names])


def layer_modules(module, layout):
    """For each layer, its modules: the one that gives it its name, then a joined BatchNorm."""
    found = [[] for _ in layout.layers]
    for tensor in layout.tensors:
        part = module.get_submodule(tensor.name.rpartition(".")[0])
        if part not in found[tensor.layer]:
            found[tensor.layer].append(part)
    return found


def kind_of(part):
    """Return the layer kind of a module: "conv", "linear", "norm", "embedding", "lstm", "other"."""
    if isinstance(part, _CONVS):
        return "conv"
    if isinstance(part, nn.Linear):
        return "linear"
    if isinstance(part, (*_BATCH_NORMS, nn.GroupNorm, nn.LayerNorm)):
        return "norm"
    if isinstance(part, nn.Embedding):
        return "embedding"
    return "lstm" if isinstance(part, nn.LSTM) else "other"


def row_axis(part):
    """Return the axis of a layer module's output along which its rows lie."""
    if isinstance(part, nn.LayerNorm):
        return -len(part.normalized_shape)
    return 1 if kind_of(part) in ("conv", "norm") else -1


def _own(part):
    """Yield (name, tensor, trained) of the parameters and running statistics of one module."""
    for name, parameter in part.named_parameters(recurse=False):
        yield name, parameter, True
    for name, buffer in part.named_buffers(recurse=False):
        # What is not in the state dict is a constant of the module, not part of the model.
        if name != _COUNTER and name not in part._non_persistent_buffers_set:
            yield name, buffer, False


def _rows(part):
    """Number of leading blocks of the weight that are output channels, units or entries."""
    kind = kind_of(part)
    if isinstance(part, nn.LayerNorm):
        return part.normalized_shape[0]
    if kind == "norm":
        return part.num_channels if isinstance(part, nn.GroupNorm) else part.num_features
    return 1 if kind in ("lstm", "other") else part.weight.shape[0]


def _joins(part, previous):
    """True if `part` normalises the rows of the convolution or linear layer before it."""
    return (
        isinstance(part, _BATCH_NORMS)
        and kind_of(previous) in ("conv", "linear")
        and part.num_features == _rows(previous)
    )


def _append(tensors, part, prefix, layer, rows):
    """Append the tensors of one module to the list, in place."""
    for name, values, trained in _own(part):
        start = tensors[-1].start + tensors[-1].size if tensors else 0
        shape = tuple(values.shape)
        blocks = rows if shape and shape[0] == rows else 1
        whole = f"{prefix}.{name}" if prefix else name
        tensors.append(Tensor(whole, shape, layer, start, blocks, trained))


def _trace(module, sample):
    """Run the sample; return {layer module: multiply-adds} in forward order."""
    calls, handles = {}, []
    parts = [part for part in module.modules() if next(_own(part), None)]

    def enter(part, inputs):
        calls.setdefault(part, 0)

    def leave(part, inputs, output):
        calls[part] += _macs(part, output)

    for part in parts:
        handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    modes = {part: part.training for part in module.modules()}
    try:
        with torch.no_grad():
            module.eval()(sample)
    finally:
        for handle in handles:
            handle.remove()
        for part, training in modes.items():
            part.training = training
    unused = [name for name, part in module.named_modules() if part in set(parts) - set(calls)]
    if unused:
        raise ConfigError(
            f"model: the forward pass never calls {unused[0]!r}; "
            "remove it, or call the module rather than its weights"
        )
    return calls


def _macs(part, output):
    """Multiply-adds of one call for one sample; biases are not counted."""
    kind = kind_of(part)
    if kind in ("conv", "linear"):
        return output[0].numel() * part.weight[0].numel()
    if kind == "lstm":
        steps = (output[0] if isinstance(output, tuple) else output)[0].shape[0]
        return steps * sum(p.numel() for n, p in part.named_parameters() if "weight" in n)
    return 0


def _check_kinds(module):
    """Raise ConfigError for modules whose tensors are not what is trained and sent."""
    for name, part in module.named_modules():
        place = f"model: {name or type(part).__name__}"
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in part.parameters(False)):
            raise ConfigError(f"{place} is a lazy module without a size; give its sizes")
        if parametrize.is_parametrized(part):
            raise ConfigError(
                f"{place} computes its weights (weight_norm, spectral_norm); use a plain layer"
            )
        if prune.is_pruned(part) and not list(part.children()):
            raise ConfigError(
                f"{place} is pruned by a hook; call torch.nn.utils.prune.remove, and prune with "
                "an algorithm such as static-mask"
            )
        if getattr(part, "sparse", False) is True:
            raise ConfigError(f"{place} has sparse gradients; make it with sparse=False")


def _check_tensors(module):
    """Raise ConfigError for parameters and buffers that a flat float32 vector cannot hold."""
    seen = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if id(parameter) in seen:
            raise ConfigError(
                f"model: {name} and {seen[id(parameter)]} are one parameter; "
                "shared parameters cannot be laid out, give each its own"
            )
        seen[id(parameter)] = name
        if not parameter.requires_grad:
            raise ConfigError(f"model: {name} has requires_grad False; make it a buffer instead")
    if not seen:
        raise ConfigError("model: it has no parameters; nothing can be trained")
    for prefix, part in module.named_modules():
        for name, values, _ in _own(part):
            if values.dtype != torch.float32:
                raise ConfigError(
                    f"model: {prefix}.{name} is {values.dtype}; only torch.float32 is allowed "
                    "(a constant may be a buffer with persistent=False)"
                )
        if isinstance(part, _BATCH_NORMS) and part.momentum is None:
            raise ConfigError(
                f"model: {prefix} has momentum=None, an average over all batches ever seen, "
                "which no client can hold; give a momentum, such as 0.1"
            )


def _check_draws(module, sample, labels):
    """Raise ConfigError if the forward pass in training fails or draws random numbers."""
    twin = copy.deepcopy(module).train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.get_rng_state()
        try:
            outputs = twin(torch.cat([sample, sample]))
        except Exception as error:  # the user's code may raise anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"model: the forward pass fails on input of shape {tuple(sample.shape)}: {reason}"
            ) from None
        if not isinstance(outputs, torch.Tensor):
            raise ConfigError(
                f"model: the forward pass returns a {type(outputs).__name__}; return one tensor, "
                "[N, classes]"
            )
        if labels and (outputs.ndim != 2 or outputs.shape[1] < labels):
            found = ", ".join(map(str, outputs.shape))
            raise ConfigError(f"model: the forward pass of 2 samples returns float32[{found}], and "
                              f"labels go up to {labels - 1}; return float32[2, {labels}]")
        if not torch.equal(before, torch.get_rng_state()):
            raise ConfigError(
                "model: the forward pass draws random numbers (dropout?), which would make "
                "results depend on the order of clients; set their rate to 0 or remove them"
            )
