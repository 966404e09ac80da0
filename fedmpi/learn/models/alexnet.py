"""The AlexNet variant of FedDIP (Long et al., ICDM 2023) for 32x32 images."""

from collections import OrderedDict

from torch import nn

from fedmpi.learn.models.parts import channels_of_32

# Output channels of each convolution, and whether a pool follows.
_CONVS = ((64, True), (192, True), (384, False), (256, False), (256, True))


def alexnet(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return an AlexNet of five 3x3 convolutions and 4096-4096 linear layers.

    It has 23,272,266 parameters at 3x32x32 and 10 classes. The channels follow from that
    number and from the ERK densities of FedDIP's code. The stride 2 of the first
    convolution was chosen here, as is usual for 32x32. There is no dropout, and no softmax
    at the end: the published code has one before a cross-entropy that applies its own.
    """
    inputs = channels_of_32("alexnet", input_shape)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (outputs, pool) in enumerate(_CONVS, 1):
        stride = 2 if number == 1 else 1
        parts[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        parts[f"relu{number}"] = nn.ReLU()
        if pool:
            parts[f"pool{number}"] = nn.MaxPool2d(2)
        inputs = outputs
    parts["flatten"] = nn.Flatten()
    parts["fc1"] = nn.Linear(256 * 2 * 2, 4096)
    parts["relu6"] = nn.ReLU()
    parts["fc2"] = nn.Linear(4096, 4096)
    parts["relu7"] = nn.ReLU()
    parts["fc3"] = nn.Linear(4096, classes)
    return nn.Sequential(parts)
