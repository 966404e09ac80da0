"""The curvature of a batch's error along a direction: the product of its Hessian with a vector.

The error is differentiated twice. A difference of two gradients would include the jumps of the
gradient where a ReLU or a pool switches between the two points, which are not part of the Hessian.
In networks of several layers these jumps dominate, however close the points are.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fedmpi.arrays import AnyArray, Bools, Vector
from fedmpi.errors import ConfigError
from fedmpi.layout import Layout
from fedmpi.learn.constants import Constants, Training
from fedmpi.learn.draws import Draws
from fedmpi.learn.layout_of import bind, flat_weights
from fedmpi.learn.loss_functions import of_labels, one_thread
from fedmpi.learn.losses import loss_of

Curvature = Callable[[Vector, Vector, AnyArray, AnyArray, str, Bools | None, Draws], Vector]


def curvature_of(module: nn.Module, layout: Layout) -> Curvature:
    """Return a function (point, direction, x, y, ...) that gives H times direction, float32[P].

    H is the Hessian of the mean error of one batch at the point. Point and direction are
    float32[P], x float32[N, ...], y int64[N]. The other arguments are the name of a loss,
    bool[classes] or None (a Plan's `labels`), and the source of the modules' random numbers.
    Entries of running statistics are 0. The function owns the module from now on. It runs the
    module in training mode, and no call affects the next.

    The function raises ConfigError if torch cannot differentiate the model twice.
    """
    flat = flat_weights(module, layout)
    training, constants = Training(module), Constants(module, layout)
    trained = [tensor for tensor in layout.tensors if tensor.trained]
    parameters = [module.get_parameter(tensor.name) for tensor in trained]

    def error_of(
        x: AnyArray, y: AnyArray, error: str, labels: Bools | None, draws: Draws
    ) -> torch.Tensor:
        with draws.next_pass():
            outputs = of_labels(module(torch.tensor(x)), labels)
        found: torch.Tensor = loss_of(error)(outputs, torch.tensor(y))
        return found

    def of_batch(
        point: Vector, along: Vector, x: AnyArray, y: AnyArray, error: str,
        labels: Bools | None, draws: Draws,
    ) -> Vector:
        flat.copy_(torch.from_numpy(point))
        bind(module, layout, flat)  # at each call, since a module may replace its tensors
        constants.restore()
        training.on()
        direction, found = torch.from_numpy(along), torch.zeros(layout.size)
        # The other attention backends can be differentiated only once.
        with one_thread(), sdpa_kernel(SDPBackend.MATH):
            loss = error_of(x, y, error, labels, draws)
            parts = _products(loss, parameters, [direction[t.block] for t in trained])
        for tensor, part in zip(trained, parts, strict=True):
            if part is not None:
                found[tensor.block] = part.detach().reshape(-1)
        values: Vector = found.numpy()
        return values

    return of_batch


def _products(
    loss: torch.Tensor, parameters: list[nn.Parameter], along: list[torch.Tensor]
) -> list[torch.Tensor | None]:
    """Return the part of H times `along` that belongs to each parameter; None where it is 0."""
    try:
        slopes = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        pairs = zip(slopes, along, strict=True)
        pull = torch.zeros((), requires_grad=True)  # so that there is something to differentiate
        pull = sum((g.reshape(-1) @ part for g, part in pairs if g is not None), pull)
        return list(torch.autograd.grad(pull, parameters, allow_unused=True))
    except RuntimeError as fault:
        if "derivative" not in str(fault):
            raise
        raise ConfigError(
            f"model: torch cannot differentiate it twice ({fault}), which the statistic "
            "'curvature' needs, as algorithm.mask = 'grasp' does; take another model, or a mask "
            "such as 'snip'"
        ) from None
