"""From a torch module to the chain of steps that the kernels take."""

from typing import Any

import fedmpi.learn.fast.layers  # noqa: F401, each file registers the modules that it takes
from fedmpi.learn.fast.step import MODULES, Unsupported, Value

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def chain_of(module, layout, input_shape):
    """Return (values, steps) of a module, the first value being the input.

    Takes what the files in `layers` do: Sequential chains and Residual blocks of convolutions,
    linear layers, ReLU, pooling, BatchNorm, GroupNorm, LayerNorm, Flatten and Identity.

    Raises
    ------
    Unsupported
        For anything else.
    """
    shape = tuple(input_shape)
    if len(shape) not in (1, 3):
        raise Unsupported(f"input of shape {shape}")
    chain = Chain(module, layout, Value(*(*shape, 1, 1)[:3]))
    last = chain.walk(module, chain.values[0])
    if not chain.steps or last.relu or last.height * last.width != 1:
        raise Unsupported("an output that is not a plain vector")
    last.readers += 1
    first = [step for step in chain.steps
             if chain.values[0] in [value.like or value for value in step.sources]]
    if len(first) == 1:  # others would read the zeros around the input, too
        chain.values[0].halo = getattr(first[0], "halo", 0)
    return chain.values, chain.steps


class Chain:
    """Collects values and steps while walking down a module."""

    def __init__(self, module, layout, value):
        self.values, self.steps, self.layout = [value], [], layout
        self._names = {part: name for name, part in module.named_modules()}
        self._starts = {tensor.name: tensor for tensor in layout.tensors}
        self._seen = set()

    def walk(self, part, value):
        """Append the steps of one module that reads `value`; return what it gives."""
        from fedmpi.learn.constants import is_replaced  # needs torch

        if next(part.parameters(recurse=False), None) is not None:
            if part in self._seen:
                raise Unsupported(f"{self._names[part]} is used twice")
            self._seen.add(part)
        name = self._names[part] or "the model"
        hooks = [getattr(part, kind) for kind in _HOOKS]
        hooks += [p._backward_hooks for p in part.parameters(recurse=False)]
        if any(hooks):
            raise Unsupported(f"hooks of {name}")
        if is_replaced(part):
            raise Unsupported(f"the forward pass that was put on {name}")
        kind = type(part)
        takes = MODULES.get(f"{kind.__module__}.{kind.__qualname__}")
        if takes is None:
            raise Unsupported(f"{name} is a {kind.__name__}")
        return takes(self, part, value)

    def append(self, step):
        """Append a step; return what it gives."""
        for value in step.sources:
            value.readers += 1
        self.values.append(step.out)
        self.steps.append(step)
        return step.out

    def own(self, part: Any):
        """Return layer, place of the weight, place of the bias or -1."""
        weight = self.tensor(part, "weight")
        bias = -1 if part.bias is None else self.tensor(part, "bias").start
        return weight.layer, weight.start, bias

    def tensor(self, part, name):
        """Return the Tensor of a module's parameter or buffer."""
        whole = f"{self._names[part]}.{name}" if self._names[part] else name
        if whole not in self._starts:
            raise Unsupported(f"{whole}, which is frozen or shared")
        return self._starts[whole]
