"""The model of a KernelGradients as text, from which another rank rebuilds it without torch.

The text holds the layout, the fields of each value and step of the chain by name, and the reason
why the kernels were chosen. Nothing in it is executed.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray
from fedmpi.layout import Layer, Layout, Tensor
from fedmpi.learn.fast.geometry import Window
from fedmpi.learn.fast.kernel_gradients import KernelGradients
from fedmpi.learn.fast.step import STEPS, Step, Value


def serialised(gradients: KernelGradients, first: AnyArray) -> dict[str, AnyArray]:
    """Return arrays by name: the model as text, and its initial weights `first` float32[P]."""
    values, steps = gradients.chain
    number = {value: place for place, value in enumerate(values)}
    text = json.dumps({
        "layout": asdict(gradients.layout),  # includes its counts of frozen weights and FLOPs
        "values": [_plain(value, number) for value in values],
        "steps": [[type(step).__name__, _plain(step, number)] for step in steps],
        "reason": gradients.reason,
    })
    return {"model": np.frombuffer(text.encode(), np.uint8), "weights": first}


def deserialised(model: dict[str, AnyArray], batch_size: int) -> KernelGradients:
    """Return the KernelGradients from the result of `serialised`, on any rank."""
    tree = json.loads(model["model"].tobytes())
    shape = tree["layout"]
    tensors = (Tensor(**one | {"shape": tuple(one["shape"])}) for one in shape["tensors"])
    layers = (Layer(**one) for one in shape["layers"])
    layout = Layout(tuple(tensors), tuple(layers), shape["tail"], tuple(shape["uncounted"]))
    values: list[Value] = []
    for entry in tree["values"]:
        values.append(Value(**_made(entry, values)))
    steps = [STEPS[kind](**_made(entry, values)) for kind, entry in tree["steps"]]
    gradients = KernelGradients(layout, model["weights"].copy(), (values, steps), batch_size)
    gradients.reason = tree["reason"]
    return gradients


def _plain(thing: Value | Step, number: dict[Value, int]) -> dict[str, Any]:
    """Return the fields of a value or a step in JSON types."""
    return {f.name: _written(getattr(thing, f.name), number) for f in fields(thing)}


def _written(field: Any, number: dict[Value, int]) -> Any:
    if isinstance(field, Value):
        return {"value": number[field]}
    if isinstance(field, Window):
        return {"window": asdict(field)}
    if isinstance(field, tuple):
        return {"tuple": [_written(one, number) for one in field]}
    return field.item() if isinstance(field, np.generic) else field


def _made(entry: dict[str, Any], values: Sequence[Value]) -> dict[str, Any]:
    """Return the fields of a value or a step from their JSON form."""
    return {name: _read(field, values) for name, field in entry.items()}


def _read(field: Any, values: Sequence[Value]) -> Any:
    if not isinstance(field, dict):
        return field
    ((kind, inner),) = field.items()
    if kind == "value":
        return values[inner]
    if kind == "window":
        return Window(**{name: tuple(pair) for name, pair in inner.items()})
    return tuple(_read(one, values) for one in inner)
