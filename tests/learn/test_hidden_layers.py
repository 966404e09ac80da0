"""Layers that a model keeps where torch does not find them: they would not be trained."""

import pytest
import torch
from torch import nn

from fedmpi.errors import ConfigError
from fedmpi.learn.layout_of import layout_of


class Listed(nn.Module):
    """A model with some of its layers in a plain list, tuple or dict."""

    def __init__(self, kind):
        super().__init__()
        self.last, self.sizes = nn.Linear(4, 2), [4, 4]
        self.inner = kind([("a", nn.Linear(4, 4))] if kind in (dict, nn.ModuleDict) else
                          [nn.Linear(4, 4)])

    def forward(self, x):
        inner = self.inner["a"] if hasattr(self.inner, "keys") else self.inner[0]
        return self.last(inner(x))


@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_layers_that_torch_does_not_find_are_refused(kind):
    with pytest.raises(ConfigError, match=r"model: Listed: keeps layers in inner, .*ModuleList"):
        layout_of(Listed(kind), torch.zeros(1, 4))
    frozen = Listed(kind)
    for values in (frozen.inner.values() if kind is dict else frozen.inner):
        values.requires_grad_(False)
    assert layout_of(frozen, torch.zeros(1, 4)).size == 10


@pytest.mark.parametrize("kind", [nn.ModuleList, nn.ModuleDict])
def test_layers_that_torch_finds_are_trained(kind):
    assert layout_of(Listed(kind), torch.zeros(1, 4)).size == 30
