"""LeNet-5, the two small CNNs of FedSkel's code, and HeteroFL's CNN: plain chains of layers."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from fedmpi.learn.models.parts import image_shape


def lenet5(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return LeNet-5 (LeCun et al., 1998) with ReLU and max pooling.

    For sides of 28 and more, filters are 5x5 as in the paper. The paper's input is 32x32,
    so smaller sides are padded by 2 (61,706 parameters at 1x28x28 and 10 classes). For
    smaller images, such as the 8x8 digits, filters are 3x3 and padded by 1, which leaves
    2x2 pixels of 16 channels for the linear layers (19,754 parameters).
    """
    channels, height, width = image_shape("lenet5", input_shape, least=4)
    side = min(height, width)
    kernel = 5 if side >= 28 else 3
    first, second = (2 if side < 32 else 0, 0) if kernel == 5 else (1, 1)
    convs = [(channels, 6, kernel, first), (6, 16, kernel, second)]
    return _chain(convs, (height, width), (120, 84, classes))


def fedskel_mnist(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return FedSkel's MNIST CNN: conv 20, conv 50, linear 500 (431,080 parameters at 1x28x28).

    The published code does not fix the activation between convolution and pooling; here
    it is ReLU.
    """
    channels, height, width = image_shape("fedskel-mnist", input_shape, least=16)
    return _chain([(channels, 20, 5, 0), (20, 50, 5, 0)], (height, width), (500, classes))


def fedskel_cifar(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return FedSkel's LeNet for CIFAR: linear 120 and 100 (64,102 parameters at 3x32x32)."""
    channels, height, width = image_shape("fedskel-cifar", input_shape, least=16)
    return _chain([(channels, 6, 5, 0), (6, 16, 5, 0)], (height, width), (120, 100, classes))


def heterofl_cnn(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return HeteroFL's CNN: four 3x3 convolutions with normalisation, then a global mean.

    They have 64, 128, 256 and 512 channels, with a pool after each but the last (1,556,874
    parameters at 1x28x28, not counting the statistics of normalisation).
    """
    inputs, _, _ = image_shape("heterofl-cnn", input_shape, least=8)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, outputs in enumerate((64, 128, 256, 512), 1):
        parts[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
        parts[f"bn{number}"] = nn.BatchNorm2d(outputs)
        parts[f"relu{number}"] = nn.ReLU()
        if number < 4:
            parts[f"pool{number}"] = nn.MaxPool2d(2)
        inputs = outputs
    parts["mean"], parts["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    parts["fc"] = nn.Linear(inputs, classes)
    return nn.Sequential(parts)


def _chain(
    convs: Sequence[tuple[int, int, int, int]], sides: Sequence[int], linears: Sequence[int]
) -> nn.Sequential:
    """Return conv-ReLU-pool for each (in, out, kernel, padding), then linear layers with ReLU."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (inputs, outputs, kernel, padding) in enumerate(convs, 1):
        parts[f"conv{number}"] = nn.Conv2d(inputs, outputs, kernel, padding=padding)
        parts[f"relu{number}"] = nn.ReLU()
        parts[f"pool{number}"] = nn.MaxPool2d(2)
        sides = [(side + 2 * padding - kernel + 1) // 2 for side in sides]
    parts["flatten"] = nn.Flatten()
    inputs = outputs * sides[0] * sides[1]
    for number, units in enumerate(linears, 1):
        parts[f"fc{number}"] = nn.Linear(inputs, units)
        if number < len(linears):
            parts[f"relu{number + len(convs)}"] = nn.ReLU()
        inputs = units
    return nn.Sequential(parts)
