"""How the relevance of a layer's rows and inputs can be measured: -v dL/dv of their values v."""

from collections import Counter

from torch import nn

from fedmpi.layout import Layout
from fedmpi.learn.kinds import kind_of
from fedmpi.learn.layout_of import layer_modules

OUTPUTS = frozenset(("conv", "linear", "norm", "adapter", "bilinear"))  # kinds with rows of outputs


def at_output(module: nn.Module, layout: Layout) -> frozenset[int]:
    """Return the numbers of the layers whose relevance is measured at the output itself.

    In all others it is -w dL/dw, summed over the weight and bias of a row. This lacks what is
    frozen, has too much of what other layers share, and is wrong with parameters of other names.
    """
    alone, found = _alone(module), set()
    for number, parts in enumerate(layer_modules(module, layout)):
        own = dict(parts[0].named_parameters(recurse=False))
        plain = all(name in ("weight", "bias") and p in alone for name, p in own.items())
        if kind_of(parts[0]) in OUTPUTS and not plain:
            found.add(number)
    return frozenset(found)


def no_columns(module: nn.Module, layout: Layout) -> str:
    """Return why the statistic "columns" has no meaning for a layer; "" if it has for all.

    It has where the weight has a column for each input, and is trained for this layer alone.
    """
    alone = _alone(module)
    for layer, parts in zip(layout.layers, layer_modules(module, layout), strict=True):
        part = parts[0]
        if kind_of(part) not in OUTPUTS | {"embedding"}:
            return f"the weights of layer {layer.name}, a {type(part).__name__}, lie in no columns"
        if getattr(part, "groups", 1) != 1:
            return f"layer {layer.name} has {part.groups} groups, which read different channels"
        if part.weight is not None and part.weight not in alone:
            return f"the weight of layer {layer.name} is frozen or shared with another layer"
    return ""


def _alone(module: nn.Module) -> set[nn.Parameter]:
    """Return the parameters that are trained and have one name."""
    named = [parameter for _, parameter in module.named_parameters(remove_duplicate=False)]
    times = Counter(named)
    return {parameter for parameter in named if parameter.requires_grad and times[parameter] == 1}
