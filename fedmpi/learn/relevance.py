"""Ways to measure the relevance of a layer's rows and inputs, -v dL/dv of their values v."""

from collections import Counter

from torch import nn

from fedmpi.layout import Layout
from fedmpi.learn.kinds import kind_of
from fedmpi.learn.layout_of import layer_modules

OUTPUTS = frozenset(("conv", "linear", "norm", "adapter", "bilinear"))  # rows are output channels


def at_output(module: nn.Module, layout: Layout) -> frozenset[int]:
    """Return the numbers of the layers whose relevance is measured at the output itself.

    For all other layers it is -w dL/dw, summed over the weight and bias of a row. That sum misses
    frozen parameters, includes too much of parameters shared with other layers, and is wrong for
    parameters with other names.
    """
    alone, found = _alone(module), set()
    for number, parts in enumerate(layer_modules(module, layout)):
        own = dict(parts[0].named_parameters(recurse=False))
        plain = all(name in ("weight", "bias") and p in alone for name, p in own.items())
        if kind_of(parts[0]) in OUTPUTS and not plain:
            found.add(number)
    return frozenset(found)


def no_columns(module: nn.Module, layout: Layout) -> str:
    """Return why the statistic "columns" is undefined for a layer; "" if it is defined for all.

    It is defined if the weight has a column for each input, and is trained for this layer only.
    """
    alone = _alone(module)
    for layer, parts in zip(layout.layers, layer_modules(module, layout), strict=True):
        part = parts[0]
        if kind_of(part) not in OUTPUTS | {"embedding"}:
            return f"the weights of layer {layer.name}, a {type(part).__name__}, have no columns"
        if getattr(part, "groups", 1) != 1:
            return f"layer {layer.name} has {part.groups} groups, which read different channels"
        if part.weight is not None and part.weight not in alone:
            return f"the weight of layer {layer.name} is frozen or shared with another layer"
    return ""


def _alone(module: nn.Module) -> set[nn.Parameter]:
    """Return the parameters that are trained and have only one name."""
    named = [parameter for _, parameter in module.named_parameters(remove_duplicate=False)]
    times = Counter(named)
    return {parameter for parameter in named if parameter.requires_grad and times[parameter] == 1}
