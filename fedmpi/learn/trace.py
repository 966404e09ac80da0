"""A trace of one forward pass: the modules that it calls, and its multiply-adds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.hooks import RemovableHandle

from fedmpi.learn.kinds import multiplied, tensors_in
from fedmpi.learn.ways import Ways

# Operations that multiply, but are unknown to torch's counter. Modules with a rule of their own in
# kinds.py may run them.
_UNCOUNTED = frozenset(
    ("_fft_c2c", "_fft_r2c", "_fft_c2r", "_cdist_forward", "_pdist_forward", "_trilinear",
     "mkldnn_rnn_layer", "mv", "addmv", "dot", "vdot")
)  # fmt: skip


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes
    ----------
    part : torch.nn.Module
    weights : dict
        Multiply-adds with each parameter of the module, if a rule gives them.
    rest : int
        All other multiply-adds of the call, without those of modules that it calls.
    inner : int
        The part of `rest` that needs the gradients of both factors.
    frozen, fixed : int
        As `rest`, but with a frozen parameter or buffer, or a view of one, as a factor: `frozen`
        multiply-adds need the gradient of the other factor, `fixed` ones need none.
    fed : bool
        Whether the inputs depend on a trained weight.
    again : bool
        Whether the module was called before.
    """

    part: nn.Module
    fed: bool
    again: bool
    weights: dict[str, int] = field(default_factory=dict)
    rest: int = 0
    inner: int = 0
    frozen: int = 0
    fixed: int = 0


class Trace(TorchDispatchMode):
    """A trace of the forward pass of `module` on one sample, in evaluation mode.

    Multiply-adds are counted by torch.utils.flop_counter and by the rules of kinds.py.

    Attributes
    ----------
    calls : list of Call
        The calls, in the order in which they ended.
    order : list of torch.nn.Module
        The modules, in the order of their first calls.
    uncounted : dict
        Operations whose multiply-adds are unknown, by the module that ran them.
    ways : Ways
    output : torch.Tensor
    """

    def __init__(self, module: nn.Module, sample: torch.Tensor) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.uncounted: dict[nn.Module, str] = {}
        self.ways = Ways()
        self._order: dict[nn.Module, None] = {}
        self._open: list[Call] = []
        self._constants = {
            values.untyped_storage().data_ptr()
            for values in (*module.parameters(), *module.buffers()) if not values.requires_grad
        }  # fmt: skip
        modes = {part: part.training for part in module.modules()}
        handles = [handle for part in modes for handle in self._hooks(part)]
        try:
            # Gradients and the plain attention prevent fused operations, which would hide others.
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), self:
                self.output = module.eval()(sample)
        finally:
            for handle in handles:
                handle.remove()
            for part, training in modes.items():
                part.training = training

    @property
    def order(self) -> list[nn.Module]:
        """The modules in the order of their first calls."""
        return list(self._order)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False, because telling torch.compile to skip this costs a second of imports."""
        return False

    def _hooks(self, part: nn.Module) -> Iterator[RemovableHandle]:
        yield part.register_forward_pre_hook(self._enter, with_kwargs=True)
        yield part.register_forward_hook(self._leave, with_kwargs=True)

    def _enter(self, part: nn.Module, inputs: Any, named: Any) -> None:
        fed = any(values.requires_grad for values in tensors_in((*inputs, *named.values())))
        self._open.append(Call(part, fed, part in self._order))
        self._order.setdefault(part)

    def _leave(self, part: nn.Module, inputs: Any, named: Any, output: Any) -> None:
        call = self._open.pop()
        call.weights = multiplied(part, inputs, named, output)
        if call.weights:  # the rule counts by parameter, so frozen ones are known
            every = call.rest + call.frozen + call.fixed
            call.rest, call.frozen, call.fixed = max(every - sum(call.weights.values()), 0), 0, 0
        self.calls.append(call)
        self.ways.leave(part, output)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, and count it for the innermost module."""
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        self.ways.follow(packet.__name__, (*args, *(kwargs or {}).values()), out)
        if not self._open:
            return out
        if packet in flop_registry:
            macs = flop_registry[packet](*args, **(kwargs or {}), out_val=out) // 2
            adds = packet.__name__ in ("addmm", "baddbmm")  # their first argument is not a factor
            self._count(self._open[-1], args[adds : adds + 2], macs)
        elif _hides(func):
            self.uncounted[self._open[-1].part] = packet.__name__
        return out

    def _count(self, call: Call, factors: Sequence[torch.Tensor], macs: int) -> None:
        """Add the multiply-adds of an operation to those of the call that ran it."""
        constant = [a.untyped_storage().data_ptr() in self._constants for a in factors]
        if not any(constant):
            call.rest += macs
            call.inner += macs * all(a.requires_grad for a in factors)
        elif any(a.requires_grad for a in factors):
            call.frozen += macs
        else:
            call.fixed += macs


def _hides(func: Any) -> bool:
    """Return True if an operation may multiply without being counted."""
    name = func._overloadpacket.__name__
    foreign = func.namespace not in ("aten", "prim", "prims")
    return foreign or name in _UNCOUNTED or name.startswith(("linalg_", "_linalg_"))
