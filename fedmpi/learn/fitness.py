"""Checks that clients can train a torch module whose weights they share as a flat vector."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from fedmpi.errors import ConfigError
from fedmpi.layout import MOST
from fedmpi.learn.failed_layer import failure
from fedmpi.learn.kept_values import check_kept
from fedmpi.learn.kinds import BATCH_NORMS

COMPUTE = (WeightNorm, SpectralNorm)  # torch's older hooks, which run before each forward pass
_SIGMOIDS = {"Sigmoid": "sigmoid", "Hardsigmoid": "hardsigmoid"}
_ONE_SIGN = {"LogSigmoid": "log-sigmoid", "Softmax": "softmax", "LogSoftmax": "log-softmax"}
# For each loss: autograd operations that must not be the last before it, and names for messages.
_LAST = {"bce": _SIGMOIDS | _ONE_SIGN, "sigmoid-quadratic": _SIGMOIDS, "sigmoid-linear": _SIGMOIDS}
_MOVE = ("View", "UnsafeView", "Squeeze", "Unsqueeze", "Permute", "Transpose", "Clone", "Expand",
         "Slice", "Select", "Split", "Unbind", "Cat", "Stack", "ToCopy")  # fmt: skip


def check_kinds(module: nn.Module) -> None:
    """Raise ConfigError for modules whose parameters cannot be trained and sent as they are."""
    known = set(module.modules())
    for name, part in module.named_modules():
        place = f"model: {name or type(part).__name__}"
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in part.parameters(False)):
            raise ConfigError(f"{place} is a lazy module without a size; give its sizes")
        hooks = part._forward_pre_hooks.values()
        if parametrize.is_parametrized(part) or any(isinstance(hook, COMPUTE) for hook in hooks):
            raise ConfigError(
                f"{place} computes its weights (weight_norm, spectral_norm); use a plain layer"
            )
        if prune.is_pruned(part) and not list(part.children()):
            raise ConfigError(
                f"{place} is pruned by a hook; call torch.nn.utils.prune.remove, and prune with "
                "an algorithm such as static-mask"
            )
        if hidden := _hidden(part, known):
            raise ConfigError(
                f"{place}: keeps layers in {hidden}, where torch does not find them, so they would "
                "not be trained; use nn.ModuleList or nn.ModuleDict, or freeze them"
            )
        if getattr(part, "sparse", False) is True:
            raise ConfigError(f"{place} has sparse gradients; make it with sparse=False")
        if isinstance(part, BATCH_NORMS) and part.momentum is None:
            raise ConfigError(
                f"model: {name} has momentum=None, an average over all batches ever seen, "
                "which cannot be averaged; give a momentum, such as 0.1"
            )


def _hidden(part: nn.Module, known: set[nn.Module]) -> str:
    """Return the attribute in which a module keeps trainable layers that torch does not find."""
    for name, value in vars(part).items():
        inside = value.values() if isinstance(value, dict) else value
        if name.startswith("_") or not isinstance(value, list | tuple | dict):
            continue
        lost = (one for one in inside if isinstance(one, nn.Module) and one not in known)
        if any(p.requires_grad for one in lost for p in one.parameters()):
            return name
    return ""


def check_last(make: Callable[[], nn.Module], sample: ArrayLike, loss: str) -> None:
    """Raise ConfigError if the model ends with a sigmoid, and the loss takes the sigmoid too.

    A sigmoid cannot be recognised by the outputs, so the last operation is read from the autograd
    graph of a new module's pass over one `sample`. It may be a layer's or the forward pass's own. A
    sigmoid that is written out, as 1 / (1 + exp(-x)), is not found. If the sign of an output
    predicts a label, the last operation must not be one whose results all have the same sign.
    """
    refused = _LAST.get(loss, {})
    if not refused:
        return
    found = _last_operations(_run(make().eval(), torch.as_tensor(sample)).grad_fn)
    if found and found <= set(refused):
        name = refused[min(found)]
        raise ConfigError(
            f"model: ends with a {name}, and model.loss = {loss!r} takes the sigmoid of its "
            f"outputs; leave the {name} out, or let a loss of your own take probabilities"
        )


def _last_operations(node: Any) -> set[str]:
    """Return the names of the last operations that change numbers, at or before a node of autograd.

    Operations that only move numbers are skipped. If tensors are joined, each has its own last
    operation.
    """
    name = "" if node is None else node.name().partition("Backward")[0]
    if name not in _MOVE:
        return {name}
    return {last for before, _ in node.next_functions for last in _last_operations(before)}


def check_tensors(module: nn.Module) -> None:
    """Raise ConfigError for parameters that a flat float32 vector cannot hold."""
    parameters = dict(module.named_parameters())
    if not parameters:
        raise ConfigError("model: it has no parameters; nothing can be trained")
    trained = {name: p for name, p in parameters.items() if p.requires_grad}
    if not trained:
        raise ConfigError("model: all of its parameters are frozen; nothing can be trained")
    size = sum(values.numel() for values in (*trained.values(), *module.buffers()))
    if size > MOST:
        raise ConfigError(
            f"model: it has {size:,} weights and statistics; at most {MOST:,} can be trained "
            "(freeze some of them, or add an adapter)"
        )
    for name, values in trained.items():
        if values.numel() == 0:
            raise ConfigError(
                f"model: {name} has the shape {list(values.shape)}, so it holds no weights; "
                "remove or freeze it"
            )
        if values.dtype != torch.float32:
            raise ConfigError(
                f"model: {name} is {values.dtype}; a weight that is trained must be torch.float32 "
                "(call .float() on the model, or freeze it)"
            )
        if values._post_accumulate_grad_hooks:
            raise ConfigError(
                f"model: {name} has a hook that runs after its gradient is accumulated, which no "
                "engine does; use register_hook"
            )


def check_passes(module: nn.Module, sample: Tensor, labels: int) -> None:
    """Raise ConfigError if a pass fails, or the forward pass gives too few outputs for `labels`.

    The forward pass must draw no random numbers in evaluation mode, and in training only from
    torch's generator. It must not depend on earlier passes, except by buffers. In training it must
    not change a constant that clients would have to average. The module itself is not changed.
    """
    for mode, training in (("evaluation", False), ("training", True)):
        _check_draws(module, sample, mode, training)
    check_kept(module, sample, _run)
    twin = copy.deepcopy(module)
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        with torch.no_grad():
            _run(twin.eval(), sample)
        if not torch.equal(before, torch.get_rng_state()):
            raise ConfigError(
                "model: the forward pass draws random numbers in evaluation mode, so no two "
                "evaluations would agree; let it draw only if self.training"
            )
        state = {name: values.clone() for name, values in twin.named_buffers()}
        outputs = _run(twin.train(), torch.cat([sample, sample]))
        _run_back(twin, outputs)
    if labels and (outputs.ndim != 2 or outputs.shape[1] < labels):
        found = ", ".join(map(str, outputs.shape))
        raise ConfigError(
            f"model: the forward pass of 2 samples returns float32[{found}], and "
            f"labels go up to {labels - 1}; return float32[2, {labels}]"
        )
    for name, values in twin.named_buffers():
        counts = not values.is_floating_point() or values.dtype == torch.float32
        if not counts and not torch.equal(values, state[name]):
            raise ConfigError(
                f"model: {name} is {values.dtype} and changes in training; statistics that are "
                "averaged over clients must be torch.float32"
            )


def _check_draws(module: nn.Module, sample: Tensor, mode: str, training: bool) -> None:
    """Raise ConfigError if two passes with the same seed of torch differ.

    The outputs are compared with a tolerance; engines check whether their bits are equal.
    """
    outputs = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.get_rng_state()
        for _ in range(2):  # only one copy at a time, since a model may be large
            torch.set_rng_state(before)
            twin = copy.deepcopy(module).train(training)
            outputs.append(_run(twin, torch.cat([sample, sample])))
            del twin
    one, other = outputs
    same = one.shape == other.shape
    if not same or not torch.allclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True):
        raise ConfigError(
            f"model: two passes of the same samples in {mode} differ, with the same seed of torch; "
            "draw with torch, not with numpy or random, and only if self.training"
        )


def _run(module: nn.Module, x: Tensor) -> Tensor:
    try:
        outputs = module(x.clone())  # a copy, since the module may write to it
    except ConfigError:
        raise
    except Exception as error:  # the user's code may raise anything
        reason = failure(module, x, error)
        tokens = "; tokens come as uint8, so call x.long() first" if x.dtype == torch.uint8 else ""
        raise ConfigError(
            f"model: the forward pass fails on input of shape {(1, *x.shape[1:])}: {reason}{tokens}"
        ) from None
    if not isinstance(outputs, torch.Tensor):
        raise ConfigError(
            f"model: the forward pass returns a {type(outputs).__name__}; return one tensor, "
            "[N, classes]"
        )
    return outputs


def _run_back(module: nn.Module, outputs: Tensor) -> None:
    """Take the gradient of the outputs by all trained parameters, as a client would."""
    trained = [p for p in module.parameters() if p.requires_grad]
    if not outputs.requires_grad:
        raise ConfigError(
            "model: in training the outputs of the forward pass depend on none of its weights in a "
            "way that can be differentiated; leave out detach(), torch.no_grad(), numpy and argmax "
            "between the weights and the outputs"
        )
    try:
        torch.autograd.grad(outputs.sum(), trained, allow_unused=True)
    except Exception as error:  # the user's code may raise anything
        raise ConfigError(
            "model: the backward pass fails, so it cannot be trained: "
            f"{_first_line(error)}; mend what the model does to tensors in place, or the backward "
            "pass of its own operations"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
