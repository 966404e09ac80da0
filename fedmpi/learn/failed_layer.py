"""The layer in which a forward pass fails, with the shapes that it gets and needs."""

import copy
import traceback
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedmpi import user_code
from fedmpi.learn.kinds import BATCH_NORMS, CONVS, LAYER_NORMS, TRANSPOSED

_SIDES = ("L", "H, W", "D, H, W")  # in one, two and three dimensions
_BY_CHANNELS = (
    (CONVS, "in_channels"), (TRANSPOSED, "in_channels"), (BATCH_NORMS, "num_features"),
)  # fmt: skip


def failure(module: nn.Module, x: Tensor, error: Exception) -> str:
    """Return a text that says why the forward pass of a module on `x` [N, ...] raised `error`.

    The pass is repeated to find the layer. If it fails outside torch's layers, the text is that
    of the error, with the line of the user's code.
    """
    found = _innermost(module, x)
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    frames = user_code.own_frames(traceback.extract_tb(error.__traceback__))
    at = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    if found is None:
        return f"{reason}{at}"
    name, part, given = found
    gets = _shown(given.shape, len(x))
    needs, remedy = _wish(part, given)
    what = f"layer {name!r}, {type(part).__name__}, gets {gets}"
    return f"{what}{at}: {reason}" if not needs else f"{what} and needs {needs}{at}; {remedy}"


def _innermost(module: nn.Module, x: Tensor) -> tuple[str, nn.Module, Tensor] | None:
    """Return (name, layer, its input) of the layer that fails; None if it is not one of torch's."""
    twin, begun = copy.deepcopy(module), [(module, ())]

    def enter(part: nn.Module, inputs: tuple[Any, ...]) -> None:
        begun.append((part, inputs))

    def leave(part: nn.Module, inputs: Any, output: Any) -> None:
        begun.pop()

    handles = [part.register_forward_pre_hook(enter) for part in twin.modules()]
    handles += [part.register_forward_hook(leave) for part in twin.modules()]
    with suppress(Exception), torch.no_grad():  # the failure is expected
        twin(x.clone())
    for handle in handles:
        handle.remove()
    part, inputs = begun[-1]
    name = {part: name for name, part in twin.named_modules()}.get(part)
    of_torch = type(part).__module__.startswith("torch.nn.")
    if name and of_torch and inputs and isinstance(inputs[0], Tensor):
        return name, part, inputs[0]
    return None


def _wish(part: Any, given: Tensor) -> tuple[str, str]:
    """Return the shape that a layer needs, and a remedy; both empty if the shape is right."""
    shape = tuple(given.shape)
    if isinstance(part, nn.Embedding) and given.is_floating_point():
        return "whole numbers", "call x.long() if the data are tokens, else use nn.Linear"
    if isinstance(part, nn.Linear):
        return _of_linear(part.in_features, shape)
    if isinstance(part, LAYER_NORMS):
        own = tuple(part.normalized_shape)
        new = shape[len(shape) - len(own) :]
        return _unless(own == new, f"[N, ..., {_joined(own)}]",
                       f"make it with normalized_shape={list(new)}")
    if isinstance(part, nn.GroupNorm):
        return _unless(shape[1:2] == (part.num_channels,), f"[N, {part.num_channels}, ...]",
                       f"make it with num_channels={_joined(shape[1:2])}")
    for kinds, key in _BY_CHANNELS:
        if isinstance(part, kinds):
            count = next(n for n, kind in enumerate(kinds, 1) if isinstance(part, kind))
            return _of_channels(getattr(part, key), key, count, shape)
    return "", ""


def _of_linear(own: int, shape: tuple[int, ...]) -> tuple[str, str]:
    needs, flat = f"[N, {own}]", prod(shape[1:])
    if len(shape) < 2:
        return needs, "keep the samples apart, as nn.Flatten() does"
    if len(shape) < 4:
        return _unless(shape[-1] == own, needs, f"make it with in_features={shape[-1]}")
    size = "" if flat == own else f", and make it with in_features={flat}"
    return _unless(shape[-1] == own, needs, f"put nn.Flatten() before it{size}")


def _of_channels(own: int, key: str, count: int, shape: tuple[int, ...]) -> tuple[str, str]:
    needs = f"[N, {own}, {_SIDES[count - 1]}]"
    if len(shape) != count + 2:
        return needs, "reshape its input, or take a layer for that shape"
    return _unless(shape[1] == own, needs, f"make it with {key}={shape[1]}")


def _unless(fits: bool, needs: str, remedy: str) -> tuple[str, str]:
    return ("", "") if fits else (needs, remedy)


def _shown(shape: tuple[int, ...], samples: int) -> str:
    """Return a shape in words, N for the number of samples."""
    first = "N" if shape[:1] == (samples,) else _joined(shape[:1])
    return f"[{', '.join(filter(None, [first, _joined(shape[1:])]))}]"


def _joined(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes))
