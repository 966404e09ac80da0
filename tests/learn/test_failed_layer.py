"""A forward pass that fails: the layer, the shape that it gets and needs, and what to do."""

import numpy as np
import pytest
import torch
from torch import nn

from fedmpi.errors import ConfigError
from fedmpi.learn.layout_of import layout_of

IMAGE, SERIES = np.zeros((1, 1, 8, 8), np.float32), np.zeros((1, 5, 4), np.float32)
FLAT, TEXT = np.zeros((1, 64), np.float32), np.zeros((1, 7), np.uint8)


def conv(*more):
    return nn.Sequential(nn.Conv2d(1, 8, 3), *more)


CASES = [
    (IMAGE, nn.Conv2d(3, 8, 3), "layer '0', Conv2d, gets [N, 1, 8, 8] and needs [N, 3, H, W]; "
     "make it with in_channels=1"),
    (FLAT, nn.Conv2d(1, 8, 3), "Conv2d, gets [N, 64] and needs [N, 1, H, W]; reshape its input"),
    (IMAGE, nn.Conv1d(1, 8, 3), "Conv1d, gets [N, 1, 8, 8] and needs [N, 1, L]; reshape its"),
    (IMAGE, conv(nn.Conv2d(4, 8, 3)), "layer '0.1', Conv2d, gets [N, 8, 6, 6] and needs [N, 4, "),
    (IMAGE, conv(nn.ConvTranspose2d(4, 8, 3)), "ConvTranspose2d, gets [N, 8, 6, 6] and needs [N, "
     "4, H, W]; make it with in_channels=8"),
    (IMAGE, conv(nn.BatchNorm2d(4)), "needs [N, 4, H, W]; make it with num_features=8"),
    (IMAGE, conv(nn.GroupNorm(2, 4)), "needs [N, 4, ...]; make it with num_channels=8"),
    (IMAGE, conv(nn.LayerNorm((4, 6, 6))), "needs [N, ..., 4, 6, 6]; make it with "
     "normalized_shape=[8, 6, 6]"),
    (IMAGE, conv(nn.Flatten(), nn.Linear(100, 2)), "layer '0.2', Linear, gets [N, 288] and needs "
     "[N, 100]; make it with in_features=288"),
    (IMAGE, conv(nn.Linear(288, 2)), "gets [N, 8, 6, 6] and needs [N, 288]; put nn.Flatten() "
     "before it"),
    (IMAGE, conv(nn.Linear(8, 2)), "put nn.Flatten() before it, and make it with in_features=288"),
    (IMAGE, conv(nn.Flatten(0), nn.Linear(8, 2)), "gets [576] and needs [N, 8]; keep the samples"),
    (SERIES, nn.Linear(5, 2), "gets [N, 5, 4] and needs [N, 5]; make it with in_features=4"),
    (FLAT, nn.Embedding(9, 2), "Embedding, gets [N, 64] and needs whole numbers; call x.long() if"),
    (IMAGE, nn.Conv2d(1, 8, 9), "Conv2d, gets [N, 1, 8, 8]: Calculated padded input size"),
    (TEXT, nn.Linear(7, 2), "Linear, gets [N, 7]: mat1 and mat2 must have the same dtype"),
]  # fmt: skip


@pytest.mark.parametrize(("sample", "layer", "said"), CASES)
def test_the_layer_is_named_with_both_shapes(sample, layer, said):
    module = nn.Sequential(layer)
    with pytest.raises(ConfigError) as caught:
        layout_of(module, sample)
    assert str(caught.value).startswith("model: the forward pass fails on input of shape (1, ")
    assert said in str(caught.value)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


class View(nn.Module):
    """A model that takes images of 28 x 28."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(784, 10)

    def forward(self, x):
        return self.last(x.view(-1, 784))


def test_the_line_of_the_users_code_is_named_where_no_layer_fails():
    with pytest.raises(ConfigError, match=r"shape '\[-1, 784\]' is invalid .*layer.py:\d+\)"):
        layout_of(View(), IMAGE)


class Once(nn.Module):
    """A model that fails in its first pass alone."""

    def __init__(self):
        super().__init__()
        self.last, self.seen = nn.Linear(8, 2), []

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        self.seen.append(1)
        if len(self.seen) == 1:
            raise ValueError("not yet\nmore")
        return self.last(x)


def test_a_failure_that_does_not_come_again_keeps_its_own_words():
    with pytest.raises(ConfigError, match=r"8\): not yet \(test_failed_layer.py:\d+\)$"):
        layout_of(Once(), torch.zeros(1, 8))
