"""Conversion of a torch module to the chain of steps that kernels compute."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import fedmpi.learn.fast.layers  # noqa: F401, each file registers the modules that it supports
from fedmpi.layout import Layout
from fedmpi.learn.fast.step import Step, Unsupported, Value
from fedmpi.learn.fast.walk import Chain

if TYPE_CHECKING:  # a rank that receives its chain never imports torch
    from torch import nn


def chain_of(
    module: "nn.Module", layout: Layout, input_shape: Sequence[int]
) -> tuple[list[Value], list[Step]]:
    """Return (values, steps) of a module; the first value is the input.

    The supported modules are those of the files in `layers`: Sequential chains and Residual blocks
    of convolutions, linear layers, ReLU, Sigmoid, Tanh, pooling, BatchNorm, GroupNorm, LayerNorm,
    Flatten and Identity, and the channel gates of `fedmpi.learn.gates`.

    Raises
    ------
    Unsupported
        For anything else.
    """
    shape = tuple(input_shape)
    if len(shape) not in (1, 3):
        raise Unsupported(f"input of shape {shape}")
    channels, height, width = (*shape, 1, 1)[:3]
    chain = Chain(module, layout, Value(channels, height, width))
    chain.flat = len(shape) == 1
    last = chain.walk(module, chain.values[0])
    flat = chain.flat and last.height * last.width == 1
    if not chain.steps or last.relu or not flat:
        raise Unsupported("an output that is not a plain vector")
    last.readers += 1
    first = [step for step in chain.steps if step.reads_border
             and chain.values[0] in [value.like or value for value in step.sources]]
    if len(first) == 1:  # others would also read the zeros around the input
        chain.values[0].halo = getattr(first[0], "halo", 0)
    return chain.values, chain.steps
