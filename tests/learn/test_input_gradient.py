"""Input gradients by forward convolutions against torch's own."""

import pytest
import torch
from torch.nn import functional

from fedmpi.learn.input_gradient import input_gradient, pays


@pytest.mark.parametrize("size", [(7, 8), (12, 5)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 5), (4, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1), (1, 4)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 0), (3, 4)])
def test_equals_the_gradient_of_a_convolution(size, kernel, stride, padding):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, requires_grad=True)
    weight = torch.randn(4, 3, *kernel)
    output = functional.conv2d(x, weight, stride=stride, padding=padding)
    gradient = torch.randn_like(output)
    (expected,) = torch.autograd.grad(output, x, gradient)
    found = input_gradient(gradient, weight, x.shape, stride, padding)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "kernel", "side", "stride", "dilation", "expected"),
    [
        (7, 3, 32, 1, 1, True),
        (16, 3, 32, 1, 1, False),
        (7, 3, 4, 1, 1, False),
        (64, 3, 16, 2, 1, True),
        (64, 3, 8, 2, 1, False),
        (200, 1, 4, 2, 1, True),
        (7, 3, 32, 1, 2, False),
    ],
)
def test_the_rule_looks_at_shapes(rows, kernel, side, stride, dilation, expected):
    gradient, weight = torch.empty(1, rows, side, side), torch.empty(rows, 5, kernel, kernel)
    assert pays(gradient, weight, (stride, stride), (dilation, dilation)) is expected
