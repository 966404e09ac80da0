"""Where the relevance of a layer's rows, -z dL/dz of its raw outputs z, is measured."""

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
    holders: dict[int, int] = {}  # of each parameter, how many names it has
    for _, parameter in module.named_parameters(remove_duplicate=False):
        holders[id(parameter)] = holders.get(id(parameter), 0) + 1
    names = {part: name for name, part in module.named_modules()}
    layer_of = {tensor.name: tensor.layer for tensor in layout.tensors}
    found = set()
    for number, parts in enumerate(layer_modules(module, layout)):
        prefix = f"{names[parts[0]]}." if names[parts[0]] else ""
        own = dict(parts[0].named_parameters(recurse=False))
        plain = all(
            name in ("weight", "bias")
            and layer_of.get(prefix + name) == number
            and holders[id(parameter)] == 1
            for name, parameter in own.items()
        )
        if kind_of(parts[0]) in OUTPUTS and not plain:
            found.add(number)
    return frozenset(found)
