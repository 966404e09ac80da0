"""Input gradients by forward convolutions against torch's own."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fedmpi.learn.input_gradient import input_gradient, pays
from fedmpi.learn.layout_of import layout_of
from fedmpi.learn.torch_gradients import TorchGradients
from fedmpi.plan import Backward


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


def test_a_convolution_with_a_tuple_of_one_size_leaves_out_rows():
    module = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 4, 3, (1,), (1,)), nn.Flatten(),
                           nn.Linear(256, 3))  # fmt: skip
    x, y = np.ones((2, 1, 8, 8), np.float32), np.array([0, 2])
    found = []
    for stride, padding in ((1,), (1,)), ((1, 1), (1, 1)):
        module[1].stride, module[1].padding = stride, padding
        twin = copy.deepcopy(module)
        engine = TorchGradients(twin, layout_of(twin, x))
        rows = None, np.array([1, 0, 0, 1], bool), None
        engine.gradient(engine.weights, x, y, engine.grad, Backward(rows))
        found.append(engine.grad.copy())
    np.testing.assert_array_equal(*found)
