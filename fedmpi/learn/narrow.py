"""Narrow networks: torch modules without some of their channels, or with scaled outputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from fedmpi.arrays import Bools
from fedmpi.errors import ConfigError
from fedmpi.layout import Layout
from fedmpi.learn.layout_of import layer_modules, own


def narrow(module: nn.Module, layout: Layout, rows: Sequence[Bools]) -> None:
    """Remove output rows from the layers of `module`, a chain, and the inputs that read them.

    `rows` is bool[rows] for each layer. The module is changed in place: it becomes smaller, and
    its outputs are those of the whole module with the outputs of the removed rows set to 0.
    Raises ConfigError for parameters and statistics outside of the layers.
    """
    before: Bools | None = None
    for layer, keep, parts in zip(layout.layers, rows, layer_modules(module, layout), strict=True):
        if layer.kind == "norm":
            keep = np.ones(layer.rows, bool) if before is None else before
        inner = layer.kind == "adapter"
        for part in parts:
            _check_weight(part)
            _check_groups(part, layer.name, keep)
            _narrow_part(part, keep, None if hasattr(part, "num_features") or inner else before)
        before = None if inner else keep


def _check_weight(part: nn.Module) -> None:
    if not isinstance(getattr(part, "weight", None), torch.Tensor):
        names = ", ".join(name for name, *_ in own(part))
        raise ConfigError(
            f"model: {type(part).__name__} has {names}, outside of the weight and bias of a layer; "
            "methods that remove channels need all trained parameters and float32 buffers in "
            "layers, such as torch.nn.Linear"
        )


def _check_groups(part: nn.Module, name: str, keep: Bools) -> None:
    """Raise ConfigError if rows of a grouped layer would read the channels of other groups."""
    groups = getattr(part, "groups", 1) * getattr(part, "num_groups", 1)
    if groups > 1 and not keep.all():
        raise ConfigError(
            f"model: layer {name} has {groups} groups, so its rows do not read the same channels; "
            "narrow networks need convolutions and GroupNorms with one group"
        )


def _narrow_part(part: Any, rows: Bools, columns: Bools | None) -> None:
    """Keep `rows` of all tensors of one module, and `columns` of its weight, in place.

    A tensor that is not cut into these rows, such as the slopes of a PReLU, stays whole.
    """
    kept = torch.from_numpy(np.flatnonzero(rows))
    for name, values in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
        if values.dim() == 0:
            continue
        left = values.detach()
        left = left.index_select(0, kept) if len(left) == len(rows) else left
        if columns is not None and not columns.all() and left.dim() > 1:
            wide = np.repeat(columns, left.shape[1] // len(columns))
            left = left.index_select(1, torch.from_numpy(np.flatnonzero(wide)))
        trained = isinstance(values, nn.Parameter)
        setattr(part, name, nn.Parameter(left, values.requires_grad) if trained else left)
    shape = part.weight.shape
    for name, size in zip(("out_channels", "in_channels"), shape, strict=False):
        if isinstance(part, nn.Conv2d):
            setattr(part, name, size)
    if isinstance(part, nn.Linear):
        part.out_features, part.in_features = shape
    if hasattr(part, "num_features"):
        part.num_features = shape[0]


def divide(module: nn.Module, layout: Layout, divisor: float) -> None:
    """Make `module` divide the outputs of all its convolutions and linear layers but the last.

    They are divided only in training. The module is changed in place. As in HeteroFL, whose
    scaler follows the layer, a narrow network's activations are then as large as those of the
    whole network.
    """

    def scaled(part: nn.Module, inputs: Any, output: Any) -> Any:
        return output / divisor if part.training else output

    parts = [
        parts[0]
        for layer, parts in zip(layout.layers, layer_modules(module, layout), strict=True)
        if layer.kind in ("conv", "linear")
    ]
    for part in parts[:-1]:
        part.register_forward_hook(scaled)
