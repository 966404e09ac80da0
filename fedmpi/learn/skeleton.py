"""Backward passes that leave out whole rows: FedSkel's skeleton for convolutions and linear layers.

The gradient at the output of a dropped row counts as zero, so the row contributes nothing
to the weight gradient and to the input gradient, and neither is computed for it (Luo et al.,
CIKM 2021). The forward pass is complete.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from fedmpi.arrays import Bools
from fedmpi.learn.input_gradient import input_gradient, pays
from fedmpi.learn.kinds import along


class Rows:
    """The kept rows of one layer, in the form that its backward pass needs.

    `count` rows are kept; `index` int64[count] lists them, and `mask` float32[rows] is
    1 for them. Rounding their number up to oneDNN's blocks was measured and gains nothing.
    """

    def __init__(self, keep: Bools) -> None:
        self.index = torch.from_numpy(keep.nonzero()[0])
        self.count = len(self.index)
        self.mask = torch.from_numpy(keep).to(torch.float32)

    def masked(self, gradient: Tensor, axis: int) -> Tensor:
        """Return `gradient` with zeros for the dropped rows along `axis`."""
        return gradient * along(self.mask, gradient, axis)

    def spread(self, gradient: Tensor, like: Tensor) -> Tensor:
        """Return the gradient of all rows, shaped as `like`: zero where a row is dropped."""
        return torch.zeros_like(like).index_copy_(0, self.index, gradient)


class SkeletonConv(Function):
    """conv2d whose backward pass handles the kept rows only."""

    @staticmethod
    def forward(
        saved: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rows: Rows,
        geometry: tuple[Any, Any, Any],
    ) -> Tensor:
        """Return the convolution; `geometry` is (stride, padding, dilation)."""
        saved.save_for_backward(x, weight)
        saved.rows, saved.geometry, saved.bias = rows, geometry, bias is not None
        return functional.conv2d(x, weight, bias, *geometry)

    @staticmethod
    def backward(saved: Any, gradient: Tensor) -> Any:
        """Return the gradients of x, weight and bias for the kept rows."""
        x, weight = saved.saved_tensors
        rows = saved.rows
        if rows.count == 0:
            return _zeros(saved, x, weight)
        part, kept = gradient.index_select(1, rows.index), weight.index_select(0, rows.index)
        stride, padding, dilation = saved.geometry
        wanted = saved.needs_input_grad[0]
        apart = wanted and pays(part, kept, stride, dilation)
        of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
            part, x, kept, [rows.count], stride, padding, dilation,
            False, [0, 0], 1, [wanted and not apart, True, saved.bias],
        )  # fmt: skip
        if apart:
            of_x = input_gradient(part, kept, x.shape, stride, padding)
        of_bias = rows.spread(of_bias, weight[:, 0, 0, 0]) if saved.bias else None
        return of_x, rows.spread(of_weight, weight), of_bias, None, None


class SkeletonLinear(Function):
    """A linear layer whose backward pass handles the kept rows only."""

    @staticmethod
    def forward(
        saved: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rows: Rows
    ) -> Tensor:
        """Return x weight^T + bias for x float32[..., inputs]."""
        saved.save_for_backward(x, weight)
        saved.rows, saved.bias = rows, bias is not None
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(saved: Any, gradient: Tensor) -> Any:
        """Return the gradients of x, weight and bias for the kept rows."""
        x, weight = saved.saved_tensors
        rows = saved.rows
        if rows.count == 0:
            return _zeros(saved, x, weight)[:-1]
        part = gradient.reshape(-1, weight.shape[0]).index_select(1, rows.index)
        of_x = None
        if saved.needs_input_grad[0]:
            of_x = (part @ weight.index_select(0, rows.index)).view(x.shape)
        of_weight = rows.spread(part.T @ x.reshape(-1, x.shape[-1]), weight)
        of_bias = rows.spread(part.sum(0), weight[:, 0]) if saved.bias else None
        return of_x, of_weight, of_bias, None


def _zeros(saved: Any, x: Tensor, weight: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients for the case that no row is kept."""
    of_x = torch.zeros_like(x) if saved.needs_input_grad[0] else None
    of_bias = weight.new_zeros(len(weight)) if saved.bias else None
    return of_x, torch.zeros_like(weight), of_bias, None, None
