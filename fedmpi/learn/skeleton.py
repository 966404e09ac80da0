"""Backward passes that leave out whole rows: FedSkel's skeleton for convolutions and linear layers.

The gradient that arrives at the output of a dropped row counts as zero, so the row
vanishes from the weight gradient and from the input gradient, and neither is computed
for it (Luo et al., CIKM 2021). The forward pass stays whole.
"""

import torch
from torch.autograd import Function
from torch.nn import functional


class Rows:
    """The kept rows of one layer, as its backward pass wants them.

    `count` rows are kept. `index` int64[count + padding] lists them, then dropped rows
    that fill up to a multiple of `block` and whose gradient is set to zero; None if
    that would be all rows.
    `mask` float32[rows] is 1 for kept rows.
    """

    def __init__(self, keep, block=1):
        kept, dropped = keep.nonzero()[0], (~keep).nonzero()[0]
        self.count = len(kept)
        padded = -(-self.count // block) * block if block else len(keep)
        self.mask = torch.from_numpy(keep).to(torch.float32)
        self.index = None
        if padded < len(keep):
            filling = torch.from_numpy(dropped[: padded - self.count])
            self.index = torch.cat([torch.from_numpy(kept), filling])

    def select(self, values, axis):
        """Return the slices of a gradient that enter the backward pass; padding is zero."""
        if self.index is None:
            shape = [1] * values.dim()
            shape[axis] = -1
            return values * self.mask.view(shape)
        part = values.index_select(axis, self.index)
        if len(self.index) > self.count:
            part.narrow(axis, self.count, len(self.index) - self.count).zero_()
        return part

    def take(self, weight):
        """Return the rows of `weight` that match `select`."""
        return weight if self.index is None else weight.index_select(0, self.index)

    def spread(self, gradient, like):
        """Return the gradient of all rows, shaped as `like`: zero where a row is dropped."""
        if self.index is None:
            return gradient
        return torch.zeros_like(like).index_copy_(0, self.index, gradient)


class SkeletonConv(Function):
    """conv2d whose backward pass handles the kept rows only."""

    @staticmethod
    def forward(saved, x, weight, bias, rows, geometry):
        """Return the convolution; `geometry` is (stride, padding, dilation)."""
        saved.save_for_backward(x, weight)
        saved.rows, saved.geometry, saved.bias = rows, geometry, bias is not None
        return functional.conv2d(x, weight, bias, *geometry)

    @staticmethod
    def backward(saved, gradient):
        """Return the gradients of x, weight and bias for the kept rows."""
        x, weight = saved.saved_tensors
        rows = saved.rows
        if rows.count == 0:
            return _zeros(saved, x, weight)
        part = rows.select(gradient, 1)
        stride, padding, dilation = saved.geometry
        wanted = [saved.needs_input_grad[0], True, saved.bias]
        of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
            part, x, rows.take(weight), [part.shape[1]], stride, padding, dilation,
            False, [0, 0], 1, wanted,
        )  # fmt: skip
        of_bias = rows.spread(of_bias, weight[:, 0, 0, 0]) if saved.bias else None
        return of_x, rows.spread(of_weight, weight), of_bias, None, None


class SkeletonLinear(Function):
    """A linear layer whose backward pass handles the kept rows only."""

    @staticmethod
    def forward(saved, x, weight, bias, rows):
        """Return x weight^T + bias for x float32[..., inputs]."""
        saved.save_for_backward(x, weight)
        saved.rows, saved.bias = rows, bias is not None
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(saved, gradient):
        """Return the gradients of x, weight and bias for the kept rows."""
        x, weight = saved.saved_tensors
        rows = saved.rows
        if rows.count == 0:
            return _zeros(saved, x, weight)[:-1]
        part = rows.select(gradient.reshape(-1, weight.shape[0]), 1)
        of_x = None
        if saved.needs_input_grad[0]:
            of_x = (part @ rows.take(weight)).view(x.shape)
        of_weight = rows.spread(part.T @ x.reshape(-1, x.shape[-1]), weight)
        of_bias = rows.spread(part.sum(0), weight[:, 0]) if saved.bias else None
        return of_x, of_weight, of_bias, None


def _zeros(saved, x, weight):
    """The gradients where no row is kept."""
    of_x = torch.zeros_like(x) if saved.needs_input_grad[0] else None
    of_bias = weight.new_zeros(len(weight)) if saved.bias else None
    return of_x, torch.zeros_like(weight), of_bias, None, None
