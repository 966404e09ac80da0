"""Channel gates: each sample keeps the channels of a convolution that it needs most.

Yu, Nguyen, Anwar and Jannesari, arXiv:2106.06921v1, after Gao et al., "Dynamic Channel
Pruning: Feature Boosting and Suppression", ICLR 2019. With X the input of a convolution, the
gates are g = ReLU(U mean(X) + b). All but the largest g of a sample become 0, and g multiplies
the output of the convolution, or of the normalisation that follows it. Of equal gates, those of
the first channels stay. The kernels engine has the same gates (fast/layers/gate_step.py).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedmpi.errors import ConfigError
from fedmpi.learn.fitness import check_passes
from fedmpi.learn.open_channels import open_of
from fedmpi.learn.trace import Trace
from fedmpi.plan import Gates
from fedmpi.rng import rng_for


class Gate(nn.Linear):
    """The gates of one convolution, from float32[N, inputs, H, W] to float32[N, outputs]."""

    def __init__(self, conv: nn.Conv2d, gates: Gates, rng: np.random.Generator) -> None:
        super().__init__(conv.in_channels, conv.out_channels)
        self.kept = open_of(gates, conv.out_channels)
        self.squash = gates.squash
        self.names = "", ""  # of the convolution, and of the normalisation that it may be joined to
        self.seen: Tensor | None = None  # what the convolution has read, until the gates act
        drawn = rng.standard_normal(self.weight.shape) * np.sqrt(2.0 / conv.in_channels)
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(drawn.astype(np.float32)))
            self.bias.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gates: the largest values of each sample, and 0 elsewhere."""
        mean = x.mean((2, 3))
        values = torch.relu(super().forward(torch.sigmoid(mean) if self.squash else mean))
        # Not topk, which takes any of equal values.
        order = values.detach().sort(dim=1, descending=True, stable=True).indices
        opened = torch.zeros_like(values, dtype=torch.bool)
        return values.where(opened.scatter(1, order[:, : self.kept], True), 0.0)


def gated(
    module: nn.Module, gates: Gates, seed: int, shape: Sequence[int] | None = None
) -> nn.Module:
    """Put a Gate on each convolution of `module`, in place, and return the module.

    Convolutions of shortcuts get no gate; they are found by a pass of a sample of `shape`, if one
    is given. The first convolution gets one only if gates.stem. The initial values of the gates
    depend only on `seed`. A BatchNorm2d that is the next module with weights of its own, and has as
    many channels, is taken for the convolution's.
    """
    rng = rng_for(seed, "gates")
    shortcuts = set() if shape is None else _shortcuts(module, torch.zeros(1, *shape))
    parts = [(name, part) for name, part in module.named_modules() if _has_own(part)]
    first = True
    for (name, conv), (behind, after) in zip(parts, [*parts[1:], ("", None)], strict=True):
        if not isinstance(conv, nn.Conv2d) or conv in shortcuts:
            continue
        if gates.stem or not first:
            joined = isinstance(after, nn.BatchNorm2d) and after.num_features == conv.out_channels
            gate = Gate(conv, gates, rng)
            gate.names = name, behind
            _attach(conv, after if joined else conv, gate)
        first = False
    return module


def _shortcuts(module: nn.Module, sample: Tensor) -> set[nn.Module]:
    """Return the convolutions of shortcuts; only a module with convolutions is run."""
    if not any(isinstance(part, nn.Conv2d) for part in module.modules()):
        return set()
    check_passes(module, sample, 0)
    return Trace(module, sample).ways.shortcuts


def _has_own(part: nn.Module) -> bool:
    return next(part.parameters(recurse=False), None) is not None


def _attach(conv: Any, last: Any, gate: Gate) -> None:
    """Make `gate` read the input of `conv` and multiply the output of `last`."""
    conv.gate = gate
    last.gated_by = (conv,)  # in a tuple, so that torch does not make it a submodule of `last`
    conv.register_forward_pre_hook(_look)
    last.register_forward_hook(_multiply)


def _look(conv: Any, inputs: Any) -> None:
    conv.gate.seen = inputs[0]


def _multiply(last: Any, inputs: Any, output: Tensor) -> Tensor:
    # Called here, so that the gate comes after its convolution in the order of the layers.
    gate = last.gated_by[0].gate
    if gate.seen is None:
        conv, norm = gate.names
        raise ConfigError(
            f"model: {norm!r} stands behind the convolution {conv!r}, whose normalisation it seems "
            "to be, but runs before it; make the modules in the order in which they run"
        )
    values, gate.seen = gate(gate.seen), None
    gate.open = values.detach()  # for inspection; with its graph the model could not be copied
    product: Tensor = output * values[:, :, None, None]
    return product


HOOKS = _look, _multiply


def gate_on_input(part: Any) -> Gate | None:
    """Return the Gate that reads the input of a module, if there is one."""
    found: Gate | None = part.gate if _look in part._forward_pre_hooks.values() else None
    return found


def gate_on_output(part: Any) -> Gate | None:
    """Return the Gate that multiplies the output of a module, if there is one."""
    hooked = _multiply in part._forward_hooks.values()
    found: Gate | None = part.gated_by[0].gate if hooked else None
    return found
