"""Modules that need no kernel of their own: chains, reshaping, and the ReLU of a layer."""

from typing import Any

from fedmpi.learn.fast.step import Unsupported, Value, takes
from fedmpi.learn.fast.walk import Chain


@takes("torch.nn.modules.container.Sequential")
def sequential(chain: Chain, part: Any, value: Value) -> Value:
    """Append the steps of the parts, one after another."""
    for child in part:
        value = chain.walk(child, value)
    return value


@takes("torch.nn.modules.linear.Identity")
def identity(chain: Chain, part: Any, value: Value) -> Value:
    """Return the value unchanged."""
    return value


@takes("torch.nn.modules.flatten.Flatten")
def flatten(chain: Chain, part: Any, value: Value) -> Value:
    """Return the value as a vector in the same memory."""
    if (part.start_dim, part.end_dim) != (1, -1):
        raise Unsupported("Flatten of other axes than all but the first")
    chain.flat = True
    if value.height * value.width == 1:
        return value
    flat = Value(value.channels * value.height * value.width, 1, 1, value.relu, like=value)
    chain.values.append(flat)
    return flat


@takes("torch.nn.modules.activation.ReLU")
def relu(chain: Chain, part: Any, value: Value) -> Value:
    """Let the step that gives the value apply the ReLU; no other step may have read the value."""
    if value.readers or value.like or value is chain.values[0]:
        raise Unsupported("a ReLU that does not follow a layer directly")
    value.relu = True
    return value
