"""The CNN of FedLP (Zhu et al., ICC 2023) for 32x32 images, whole or at a smaller level."""

from collections import OrderedDict

from torch import nn

from fedmpi.learn.models.parts import channels_of_32

_CHANNELS = (32, 32, 64, 64, 128, 128)
_CONVS_OF_LEVEL = (2, 3, 4, 5, 6)


def fedlp_cnn(input_shape: tuple[int, ...], classes: int, level: int) -> nn.Sequential:
    """Return FedLP's CNN, 551,466 parameters at 3x32x32 and 10 classes (statistics not counted).

    It has three pairs of 3x3 convolutions in the order BN(ReLU(conv)), a pool after each
    pair, then linear layers with no activation between, as in the published code. Levels
    1 to 4 of FedLP-Hetero keep the first 2, 3, 4 or 5 convolutions, pool, and end in a
    private head. The layers that they share with level 5 have the same names.
    """
    inputs = channels_of_32("fedlp-cnn", input_shape)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    side = 32
    convs = _CONVS_OF_LEVEL[level - 1]
    for number, outputs in enumerate(_CHANNELS[:convs], 1):
        parts[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
        parts[f"relu{number}"] = nn.ReLU()
        parts[f"bn{number}"] = nn.BatchNorm2d(outputs)
        if number % 2 == 0 or number == convs:
            parts[f"pool{number}"] = nn.MaxPool2d(2)
            side //= 2
        inputs = outputs
    parts["flatten"] = nn.Flatten()
    head = "fc" if level == 5 else "private"
    parts[f"{head}1"] = nn.Linear(inputs * side * side, 128)
    parts[f"{head}2"] = nn.Linear(128, classes)
    return nn.Sequential(parts)
