"""The debug engine, which defines every mechanism of a Plan, written with torch autograd.

It is slow, and shares no code with the steps of the other engines, which are tested against it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fedmpi.arrays import AnyArray, Bools, Vector
from fedmpi.layout import Layout
from fedmpi.learn.constants import Constants, Training
from fedmpi.learn.debug_steps import DebugSteps, moving_rows
from fedmpi.learn.draws import Draws
from fedmpi.learn.kinds import along, kind_of, row_axis, tensors_in
from fedmpi.learn.layout_of import layer_modules
from fedmpi.learn.losses import loss_of
from fedmpi.learn.networks import Network
from fedmpi.learn.one_by_one import ERRORS, OneByOne
from fedmpi.learn.relevance import no_columns
from fedmpi.plan import FULL, MECHANISMS, Backward, Plan


class Reference:
    """A torch module whose weights are read and written as one vector, by copying.

    Attributes
    ----------
    module : torch.nn.Module
    layout : Layout
    initial : float32[P]
        The module's initial weights.
    no_columns : str
        The reason why the statistic "columns" is undefined for the module; empty if it is defined.
    """

    def __init__(self, module: nn.Module, layout: Layout) -> None:
        self.module, self.layout = module, layout
        self._draws: Draws | None = None
        self.no_columns = no_columns(module, layout)
        self._training, self._constants = Training(module), Constants(module, layout)
        for part in self.module.modules():
            if hasattr(part, "inplace"):
                vars(part)["inplace"] = False  # outputs of layers are read later
        self.initial = self.weights().numpy()

    def weights(self) -> Tensor:
        """Return the weights and running statistics, float32[P]."""
        state = self.module.state_dict()
        return torch.cat([state[name].detach().clone().reshape(-1) for name in self.layout.names])

    def begin(self, draws: Draws) -> None:
        """Begin with a client, for which modules take their random numbers from `draws`."""
        self._draws = draws
        self._constants.restore()

    def load(self, weights: Tensor) -> None:
        """Set the weights and running statistics."""
        state = self.module.state_dict()
        for tensor in self.layout.tensors:
            values = weights[tensor.block]
            state[tensor.name].copy_(values.reshape(tensor.shape))

    def outputs(self, weights: Vector, x: AnyArray) -> AnyArray:
        """Return the outputs float32[N, classes] in evaluation mode."""
        self.load(torch.tensor(weights))
        self._constants.restore()
        with torch.no_grad():
            found: AnyArray = self.module.eval()(torch.tensor(x)).numpy()
        return found

    def gradient(
        self, weights: Tensor, x: AnyArray, y: AnyArray, error: str, backward: Backward = FULL,
        labels: Bools | None = None,
    ) -> tuple[float, Tensor, Tensor]:
        """Return (loss, gradient float32[P], weights float32[P] with moved running statistics)."""
        self.load(weights)
        self.module.zero_grad(set_to_none=True)
        self._training.on()
        random = nullcontext() if self._draws is None else self._draws.next_pass()
        with masked_outputs(self.module, self.layout, backward), random:
            outputs = self.module(torch.tensor(x))
            if labels is not None:
                outputs = outputs * torch.tensor(labels).float()
            loss = loss_of(error)(outputs, torch.tensor(y))
            loss.backward()
        parameters = dict(self.module.named_parameters(remove_duplicate=False))
        moving = moving_rows(self.layout, backward)
        grad = torch.zeros(self.layout.size)
        for tensor in self.layout.tensors:
            found = parameters[tensor.name].grad if tensor.trained else None
            if found is not None:
                grad[tensor.block] = found.reshape(-1)
        grad[~moving] = 0.0
        return loss.item(), grad, torch.where(moving, self.weights(), weights)

    def curvature(
        self, weights: Tensor, along: Tensor, x: AnyArray, y: AnyArray, error: str,
        labels: Bools | None = None,
    ) -> Tensor:
        """Return float32[P]: the Hessian of a batch's mean error times `along` float32[P]."""
        self.load(weights)
        self._training.on()
        named = dict(self.module.named_parameters(remove_duplicate=False))
        trained = [tensor for tensor in self.layout.tensors if tensor.trained]
        parameters, found = [named[tensor.name] for tensor in trained], torch.zeros(len(along))
        random = nullcontext() if self._draws is None else self._draws.next_pass()
        with random, sdpa_kernel(SDPBackend.MATH):
            outputs = self.module(torch.tensor(x))
            outputs = outputs if labels is None else outputs * torch.tensor(labels).float()
            loss = loss_of(error)(outputs, torch.tensor(y))
            slopes = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
            pull = torch.zeros((), requires_grad=True)
            for tensor, slope in zip(trained, slopes, strict=True):
                if slope is not None:
                    pull = pull + (slope.reshape(-1) * along[tensor.block]).sum()
            parts = torch.autograd.grad(pull, parameters, allow_unused=True)
        for tensor, part in zip(trained, parts, strict=True):
            if part is not None:
                found[tensor.block] = part.reshape(-1)
        return found


@contextmanager
def masked_outputs(module: nn.Module, layout: Layout, backward: Backward) -> Iterator[None]:
    """Set the gradient that arrives at the outputs of dropped rows to zero during the block."""
    handles = []
    for number, parts in enumerate(layer_modules(module, layout)):
        keep = None if backward.rows is None else backward.rows[number]
        if keep is None or kind_of(parts[0]) == "embedding":
            continue
        handles.append(parts[0].register_forward_hook(_mask_on(keep, row_axis(parts[0]))))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mask_on(keep: Bools, axis: int) -> Callable[[nn.Module, Any, Any], None]:
    def hook(part: nn.Module, inputs: Any, output: Any) -> None:
        for values in tensors_in(output):
            mask = along(torch.tensor(keep, dtype=torch.float32), values, axis)
            if values.requires_grad:
                values.register_hook(mask.mul)

    return hook


class DebugEngine(OneByOne, name="debug"):
    """Trains each client step by step, as Plan's docstring defines it, on one thread of torch."""

    mechanisms = MECHANISMS | ERRORS

    def steps_of(
        self, network: Network, plan: Plan, lr: float, start: Vector, draws: Draws
    ) -> DebugSteps:
        torch.set_num_threads(1)
        own = [network.part_of(values) for values in (plan.mask, plan.update, plan.control)]
        mask, update, control = (None if v is None else torch.tensor(v) for v in own)
        reference, local = network.backend, self.data.local
        return DebugSteps(
            reference, plan, local, lr, torch.tensor(start), mask, update, control, draws
        )
