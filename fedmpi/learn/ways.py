"""The layers that each value of a forward pass came through, which show the shortcuts."""

from typing import Any

from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

from fedmpi.learn.kinds import kind_of, tensors_in

_NONE: frozenset[nn.Module] = frozenset()


class Ways:
    """The convolutions and linear layers on the way to each value of a forward pass.

    Attributes
    ----------
    shortcuts : set of torch.nn.Module
        The 1x1 convolutions whose output is added to that of two layers or more with the same
        origin, as in a residual block (He et al., CVPR 2016, option B).
    """

    def __init__(self) -> None:
        self.shortcuts: set[nn.Module] = set()
        self._passed = WeakTensorKeyDictionary()

    def follow(self, operation: str, inputs: object, output: object) -> None:
        """Note the way of an operation's output, which is that of all its inputs."""
        passed = [self._of(values) for values in tensors_in(inputs)]
        if operation in ("add", "add_") and len(passed) == 2:
            one, other = passed
            self._join(one - other, other - one)
            self._join(other - one, one - other)
        for values in tensors_in(output):
            self._passed[values] = _NONE.union(*passed)

    def leave(self, part: nn.Module, output: object) -> None:
        """Note that an output came through `part`, if it is a convolution or linear layer."""
        if kind_of(part) in ("conv", "transposed", "linear"):
            for values in tensors_in(output):
                self._passed[values] = self._of(values) | {part}

    def _of(self, values: Any) -> frozenset[nn.Module]:
        found: frozenset[nn.Module] = self._passed.get(values, _NONE)
        return found

    def _join(self, short: frozenset[nn.Module], long: frozenset[nn.Module]) -> None:
        """Note the layer of a way that has one layer, beside a way that has more."""
        if len(short) == 1 < len(long):
            self.shortcuts |= {part for part in short if _is_pointwise(part)}


def _is_pointwise(part: Any) -> bool:
    return kind_of(part) == "conv" and set(part.kernel_size) == {1}
