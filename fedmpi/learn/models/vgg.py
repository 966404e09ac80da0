"""VGG-11 and VGG-13 (Simonyan and Zisserman, ICLR 2015) for 32x32 images."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from fedmpi.learn.models.parts import channels_of_32

_VGG11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))
_VGG13 = ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512))


def vgg11(
    input_shape: tuple[int, ...], classes: int, batch_norm: bool, hidden: Sequence[int]
) -> nn.Sequential:
    """Return VGG-11; 9,750,922 parameters without BN at 3x32x32 and 10 classes."""
    return _vgg("vgg11", _VGG11, input_shape, classes, batch_norm, hidden)


def vgg13(
    input_shape: tuple[int, ...], classes: int, batch_norm: bool, hidden: Sequence[int]
) -> nn.Sequential:
    """Return VGG-13; 9,935,434 parameters without BN at 3x32x32 and 10 classes."""
    return _vgg("vgg13", _VGG13, input_shape, classes, batch_norm, hidden)


def _vgg(
    name: str, blocks: Sequence[Sequence[int]], input_shape: tuple[int, ...], classes: int,
    batch_norm: bool, hidden: Sequence[int],
) -> nn.Sequential:
    """Return 3x3 convolutions in blocks that end in a pool, then linear layers; no dropout."""
    inputs, number = channels_of_32(name, input_shape), 0
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for block, channels in enumerate(blocks, 1):
        for outputs in channels:
            number += 1
            parts[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            if batch_norm:
                parts[f"bn{number}"] = nn.BatchNorm2d(outputs)
            parts[f"relu{number}"] = nn.ReLU()
            inputs = outputs
        parts[f"pool{block}"] = nn.MaxPool2d(2)
    parts["flatten"] = nn.Flatten()
    for layer, units in enumerate(hidden, 1):
        parts[f"fc{layer}"] = nn.Linear(inputs, units)
        parts[f"relu{number + layer}"] = nn.ReLU()
        inputs = units
    parts[f"fc{len(hidden) + 1}"] = nn.Linear(inputs, classes)
    return nn.Sequential(parts)
