"""The walk down a torch module that collects its steps."""

from typing import TYPE_CHECKING, Any

from fedmpi.layout import Layout, Tensor
from fedmpi.learn.fast.step import MODULES, Step, Unsupported, Value

if TYPE_CHECKING:  # a rank that receives its chain never imports torch
    from torch import nn

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Chain:
    """Collects values and steps while walking down a module."""

    def __init__(self, module: "nn.Module", layout: Layout, value: Value) -> None:
        self.values, self.layout = [value], layout
        self.steps: list[Step] = []
        self.flat = False  # whether each sample is a vector by now, not a plane of 1 x 1 positions
        self._names = {part: name for name, part in module.named_modules()}
        self._starts = {tensor.name: tensor for tensor in layout.tensors}
        self._seen: set[nn.Module] = set()
        self.gated: dict[nn.Module, Value] = {}  # what each gate reads

    def walk(self, part: "nn.Module", value: Value) -> Value:
        """Append the steps of one module that reads `value`; return its output."""
        from fedmpi.learn.constants import is_replaced  # needs torch, as does the next
        from fedmpi.learn.gates import HOOKS, gate_on_input, gate_on_output

        if next(part.parameters(recurse=False), None) is not None:
            if part in self._seen:
                raise Unsupported(f"{self._names[part]} is used twice")
            self._seen.add(part)
        name = self._names[part] or "the model"
        hooks = [hook for kind in _HOOKS for hook in getattr(part, kind).values()]
        touched = [p._backward_hooks for p in part.parameters(recurse=False)]
        if any(touched) or any(hook not in HOOKS for hook in hooks):
            raise Unsupported(f"hooks of {name}")
        if is_replaced(part):
            raise Unsupported(f"the forward pass that was put on {name}")
        kind = type(part)
        takes = MODULES.get(f"{kind.__module__}.{kind.__qualname__}")
        if takes is None:
            raise Unsupported(f"{name} is a {kind.__name__}")
        reading, multiplying = gate_on_input(part), gate_on_output(part)
        if reading is not None:
            self.gated[reading] = value
        value = takes(self, part, value)
        return value if multiplying is None else self.walk(multiplying, value)

    def append(self, step: Step) -> Value:
        """Append a step; return its output."""
        for value in step.sources:
            value.readers += 1
        self.values.append(step.out)
        self.steps.append(step)
        return step.out

    def own(self, part: Any) -> tuple[int, int, int]:
        """Return (layer, offset of the weight, offset of the bias or -1)."""
        weight = self.tensor(part, "weight")
        bias = -1 if part.bias is None else self.tensor(part, "bias").start
        return weight.layer, weight.start, bias

    def tensor(self, part: "nn.Module", name: str) -> Tensor:
        """Return the Tensor of a module's parameter or buffer."""
        whole = f"{self._names[part]}.{name}" if self._names[part] else name
        if whole not in self._starts:
            raise Unsupported(f"{whole}, which is frozen or shared")
        return self._starts[whole]
