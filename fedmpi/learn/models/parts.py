"""Small modules that torch lacks, and shape arithmetic that the models share."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedmpi.errors import ConfigError


class Residual(nn.Module):
    """ReLU(body(x) + shortcut(x)), the block of He et al., CVPR 2016."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map float32[N, C, H, W] to the shape that body and shortcut both give."""
        return functional.relu(self.body(x) + self.shortcut(x))


class Subsample(nn.Module):
    """Option A of He et al.: every `stride`-th pixel, and zeros for `more` new channels."""

    def __init__(self, stride: int, more: int) -> None:
        super().__init__()
        self.stride = stride
        self.more = more

    def forward(self, x: Tensor) -> Tensor:
        """Map float32[N, C, H, W] to float32[N, C + more, H / stride, W / stride]."""
        kept = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(kept, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))


class Characters(nn.Embedding):
    """An embedding that takes character numbers of any dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """Map numbers [N, T] to float32[N, T, E]; raise ConfigError for a number without a row."""
        try:
            return super().forward(x.to(torch.int64))
        except IndexError:
            raise ConfigError(
                f"model: has tokens from 0 to {self.num_embeddings - 1}, and a sample has others; "
                "let the data set's classes be the number of different tokens, or use a model of "
                "your own"
            ) from None


class Lstm(nn.LSTM):
    """One LSTM layer, batch first, that returns only its outputs, not its state."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__(inputs, units, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override] # torch returns the state too
        """Map float32[N, T, inputs] to float32[N, T, units]."""
        return super().forward(x)[0]


class Last(nn.Module):
    """The last step of a sequence."""

    def forward(self, x: Tensor) -> Tensor:
        """Map float32[N, T, U] to float32[N, U]."""
        return x[:, -1]


def image_shape(
    model: str, input_shape: tuple[int, ...], least: int
) -> tuple[int, int, int]:
    """Return (channels, height, width); raise ConfigError unless an image of sides >= `least`."""
    if len(input_shape) != 3 or min(input_shape[1:]) < least:
        raise ConfigError(
            f"model.name = {model!r}: data of shape {_shown(input_shape)}; "
            f"it takes images (channels x height x width) of at least {least}x{least}"
        )
    channels, height, width = input_shape
    return channels, height, width


def channels_of_32(model: str, input_shape: tuple[int, ...]) -> int:
    """Return the channels; raise ConfigError unless the input is an image of 32x32."""
    if len(input_shape) != 3 or tuple(input_shape[1:]) != (32, 32):
        raise ConfigError(
            f"model.name = {model!r}: data of shape {_shown(input_shape)}; "
            "it takes images of 32x32; choose another model, such as lenet5"
        )
    return input_shape[0]


def check_characters(model: str, input_shape: tuple[int, ...]) -> None:
    """Raise ConfigError unless the input is a sequence of characters."""
    if len(input_shape) != 1:
        raise ConfigError(
            f"model.name = {model!r}: data of shape {tuple(input_shape)}; "
            "it takes sequences of characters; choose shakespeare, or another model"
        )


def _shown(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "()"
