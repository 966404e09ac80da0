"""Residual networks (He et al., CVPR 2016) for small images, 32x32 in the papers."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import nn

from fedmpi.learn.models.parts import Residual, Subsample, image_shape

_Shortcut: TypeAlias = Callable[[int, int, int], nn.Module]
"""(inputs, outputs, stride) -> the module whose output is added to that of a block's body."""


def resnet18(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return ResNet-18 with a 3x3 stem and projection shortcuts (option B).

    It has 11,173,962 parameters at 10 classes, and 11,220,132 at 100.
    """
    stages = ((64, 2), (128, 2), (256, 2), (512, 2))
    return _resnet("resnet18", stages, _projection, input_shape, classes)


def resnet20(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return ResNet-20: 16, 32, 64 channels, 3 blocks each, option A; 269,722 parameters."""
    return _resnet("resnet20", ((16, 3), (32, 3), (64, 3)), _padding, input_shape, classes)


def resnet32(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return ResNet-32: 16, 32, 64 channels, 5 blocks each, option A; 464,154 parameters."""
    return _resnet("resnet32", ((16, 5), (32, 5), (64, 5)), _padding, input_shape, classes)


def _resnet(
    name: str, stages: Sequence[tuple[int, int]], shortcut: _Shortcut,
    input_shape: tuple[int, ...], classes: int,
) -> nn.Sequential:
    """Return a stem, blocks, a global mean and a linear layer; a stage is (channels, blocks)."""
    inputs, _, _ = image_shape(name, input_shape, least=8)
    channels = stages[0][0]
    parts: OrderedDict[str, nn.Module]
    parts = OrderedDict(conv=_conv(inputs, channels), bn=nn.BatchNorm2d(channels), relu=nn.ReLU())
    inputs = channels
    for stage, (channels, blocks) in enumerate(stages, 1):
        for block in range(1, blocks + 1):
            stride = 2 if block == 1 and stage > 1 else 1
            parts[f"stage{stage}_{block}"] = _block(inputs, channels, stride, shortcut)
            inputs = channels
    parts["pool"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    parts["fc"] = nn.Linear(inputs, classes)
    return nn.Sequential(parts)


def _block(inputs: int, channels: int, stride: int, shortcut: _Shortcut) -> Residual:
    body = OrderedDict(
        conv1=_conv(inputs, channels, stride),
        bn1=nn.BatchNorm2d(channels),
        relu1=nn.ReLU(),
        conv2=_conv(channels, channels),
        bn2=nn.BatchNorm2d(channels),
    )
    same = stride == 1 and inputs == channels
    around = nn.Identity() if same else shortcut(inputs, channels, stride)
    return Residual(nn.Sequential(body), around)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return the shortcut of option B: a 1x1 convolution and its normalisation."""
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs)))


def _padding(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return the shortcut of option A: strided pixels, zeros for new channels; no parameters."""
    return Subsample(stride, outputs - inputs)
