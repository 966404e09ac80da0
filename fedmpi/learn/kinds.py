"""The kinds of torch modules, with their rows and the multiply-adds of a pass."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from fedmpi.learn.lora import Down, Up

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
LAYER_NORMS = (nn.LayerNorm, nn.RMSNorm)
KINDS = (
    ("adapter", (Down,)),
    ("conv", CONVS),
    ("transposed", TRANSPOSED),
    ("linear", (nn.Linear,)),
    ("norm", (*BATCH_NORMS, nn.GroupNorm, *LAYER_NORMS)),
    ("embedding", (nn.Embedding,)),
    ("attention", (nn.MultiheadAttention,)),
    ("bilinear", (nn.Bilinear,)),
    ("lstm", (nn.LSTM,)),
    ("gru", (nn.GRU,)),
    ("rnn", (nn.RNN,)),
)

_ROWS = ("adapter", "conv", "linear", "embedding", "bilinear")  # kinds whose weight has rows


def kind_of(part: nn.Module | None) -> str:
    """Return the layer kind of a module, a name in KINDS, or "other"."""
    return next((kind for kind, classes in KINDS if isinstance(part, classes)), "other")


def row_axis(part: nn.Module) -> int:
    """Return the axis of a layer module's output that corresponds to its rows."""
    if isinstance(part, LAYER_NORMS):
        return -len(part.normalized_shape)
    return 1 if kind_of(part) in ("conv", "norm") else -1


def along(rows: torch.Tensor, values: torch.Tensor, axis: int) -> torch.Tensor:
    """Return a number for each row, [rows], in a shape that broadcasts over `values`.

    `axis` is the axis of the rows in `values`. A single number has no axes, and one row.
    """
    shape = [1] * values.dim()
    if shape:
        shape[axis] = -1
    return rows.view(shape)


def rows_of(part: Any) -> int:
    """Return the number of rows: leading blocks of the weight, one per channel, unit or entry.

    It is 1 if the weights of a unit are not contiguous (recurrent layers, attention,
    transposed convolutions), and for modules of unknown kind.
    """
    kind = kind_of(part)
    if isinstance(part, LAYER_NORMS):
        return part.normalized_shape[0]
    if kind == "norm":
        return part.num_channels if isinstance(part, nn.GroupNorm) else part.num_features
    return part.weight.shape[0] if kind in _ROWS else 1


def is_frozen_norm(part: nn.Module) -> bool:
    """Return True for a BatchNorm with weights of which none is trained.

    In training too, it normalises by its running statistics, which are constants.
    """
    own = list(part.parameters(recurse=False))
    return isinstance(part, BATCH_NORMS) and bool(own) and not any(p.requires_grad for p in own)


def multiplied(
    part: Any, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Any
) -> dict[str, int]:
    """Return {parameter: multiply-adds} of one call, if a rule on shapes gives them.

    Parameter names are relative to `part`. The result is empty for modules of unknown kind, and for
    attention with an overridden forward pass. `inputs` are the positional arguments, `named` the
    keyword arguments.
    """
    kind = kind_of(part)
    if isinstance(part, Up):
        return {"weight": output.numel() * len(part.weight)}
    if kind in ("adapter", "conv", "linear", "bilinear"):
        return {"weight": output.numel() * part.weight[0].numel()}
    if kind == "transposed":
        return {"weight": _read(inputs, named).numel() * part.weight[0].numel()}
    if kind in ("lstm", "gru", "rnn"):
        read = _read(inputs, named)
        read = read.data if isinstance(read, nn.utils.rnn.PackedSequence) else read
        steps = read.numel() // part.input_size
        weights = {name: p for name, p in part.named_parameters() if "weight" in name}
        return {name: steps * p.numel() for name, p in weights.items()}
    plain = type(part).forward is nn.MultiheadAttention.forward
    return _of_attention(part, inputs, named) if plain else {}


def is_inner(part: nn.Module, name: str) -> bool:
    """Return True if a weight reads the result of other weights of the module, not its input.

    This is so for the second half of an adapter, and for all weights of a recurrent layer except
    those that read the sequence.
    """
    if kind_of(part) in ("lstm", "gru", "rnn"):
        return not name.startswith("weight_ih_l0")
    return isinstance(part, Up) or name == "out_proj.weight"


def _read(inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """Return the "input" of a call of a torch module, given by name or as the first argument."""
    return named["input"] if "input" in named else [*inputs, *named.values()][0]


def _of_attention(part: Any, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, int]:
    given = dict(zip(("query", "key", "value"), inputs)) | dict(named)
    read = [given[name] for name in ("query", "key", "value")]
    tokens = [values.numel() // values.shape[-1] for values in read]
    out = {"out_proj.weight": tokens[0] * part.out_proj.weight.numel()}
    if part.in_proj_weight is not None:
        return {"in_proj_weight": sum(tokens) * part.in_proj_weight.numel() // 3} | out
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    found = zip(names, tokens, strict=True)
    return {name: count * getattr(part, name).numel() for name, count in found} | out


def tensors_in(output: object) -> Iterator[torch.Tensor]:
    """Yield the tensors of an output, which may be nested tuples that also hold None."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from tensors_in(part)
