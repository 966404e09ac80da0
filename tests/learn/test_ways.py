"""The shortcuts of a network, by the ways of its values and not by names."""

import numpy as np
import torch
from torch import nn

from fedmpi import sparsity
from fedmpi.learn.gates import gated
from fedmpi.learn.layout_of import layout_of
from fedmpi.plan import Gates

SHAPE = 2, 8, 8
SAMPLE = np.zeros((1, *SHAPE), np.float32)


class Basic(nn.Module):
    """A residual block as torchvision writes it: in place, its shortcut called `downsample`."""

    def __init__(self, inputs, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2, self.downsample = nn.BatchNorm2d(channels), None
        if stride > 1:
            conv = nn.Conv2d(inputs, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(channels))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        return self.relu(out)


class Branches(nn.Module):
    """Sums and joins without a shortcut: two ways of one layer each, and channels side by side."""

    def __init__(self):
        super().__init__()
        self.shortcut, self.other = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 3, 3, padding=1)
        self.deep = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1))
        self.wide = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        both = self.shortcut(x) + self.other(x)
        both = both + self.deep(both)
        return torch.cat([self.wide(both), self.deep(both)], 1)


def network(*blocks):
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))


def shortcuts(module):
    return [layer.name for layer in layout_of(module, SAMPLE).layers if layer.shortcut]


def test_a_projection_beside_a_block_is_a_shortcut_by_any_name():
    module = network(nn.Conv2d(2, 4, 1), Basic(4, 4, 1), Basic(4, 5, 2))
    layout = layout_of(module, SAMPLE)
    assert shortcuts(module) == ["2.downsample.0"]
    pruned = [layout.tensors[t].name for t in sparsity.prunable(layout)]
    assert pruned == ["0.weight", "1.conv1.weight", "1.conv2.weight", "2.conv1.weight",
                      "2.conv2.weight", "5.weight"]


def test_a_layer_in_a_sum_of_equals_or_beside_others_is_none():
    assert shortcuts(network(Branches())) == []


def test_a_shortcut_gets_no_gate():
    module = gated(network(nn.Conv2d(2, 4, 1), Basic(4, 5, 2)), Gates(0.5), 1, SHAPE)
    ones = [name for name, part in module.named_modules() if hasattr(part, "gate")]
    assert ones == ["0", "1.conv1", "1.conv2"]
