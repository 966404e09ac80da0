"""The input gradient of a convolution as forward convolutions, for few kept rows.

oneDNN's own backward pass pads a few channels to a block of 16, and is slow for layers with
a stride. Its forward pass has neither problem. With stride 1 the input gradient is one
convolution of the output gradient with the flipped filters. With stride s, the pixels of
each residue modulo s have their own subset of filter taps, so s * s smaller convolutions
are needed.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from torch import Tensor
from torch.nn import functional

Pair: TypeAlias = Sequence[int]
"""Vertical and horizontal value."""
_Taps: TypeAlias = tuple[slice, int, int]
_BLOCK = 16  # oneDNN's block of channels


def pays(gradient: Tensor, weight: Tensor, stride: Pair, dilation: Pair) -> bool:
    """Return True if `input_gradient` is faster, by a rule on shapes instead of timings.

    The rule was measured with torch 2.13 on one thread, for the layers of ResNet-18 and of
    the papers' CNNs with batches of 10 and 32.
    """
    if max(dilation) > 1:
        return False
    pixels = gradient.shape[2] * gradient.shape[3]
    if max(stride) == 1:
        return weight.shape[0] < _BLOCK and pixels >= 64
    return weight.shape[2] == weight.shape[3] == 1 or pixels >= 256


def input_gradient(
    gradient: Tensor, weight: Tensor, shape: Sequence[int], stride: Pair, padding: Pair
) -> Tensor:
    """Return the gradient of the input, float32[`shape`] = [N, inputs, H, W].

    `gradient` is that of the output, float32[N, rows, h, w], and `weight` is float32[rows, inputs,
    kh, kw]. Dilation is not supported. The result equals oneDNN's up to rounding.
    """
    flipped = weight.flip(2, 3).transpose(0, 1)
    height = [_phase(*part) for part in _axes(0, gradient, weight, shape, stride, padding)]
    width = [_phase(*part) for part in _axes(1, gradient, weight, shape, stride, padding)]
    if len(height) == len(width) == 1 and height[0] and width[0]:
        return _convolve(gradient, flipped, height[0], width[0])
    result = gradient.new_empty(shape)
    for row, vertical in enumerate(height):
        for column, horizontal in enumerate(width):
            pixels = result[:, :, row :: stride[0], column :: stride[1]]
            if vertical is None or horizontal is None:
                pixels.zero_()
            else:
                pixels.copy_(_convolve(gradient, flipped, vertical, horizontal))
    return result


def _axes(
    axis: int, gradient: Tensor, weight: Tensor, shape: Sequence[int], stride: Pair, padding: Pair
) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Yield the arguments of `_phase` for each residue along one spatial axis."""
    for residue in range(min(stride[axis], shape[2 + axis])):
        yield (
            residue,
            shape[2 + axis],
            gradient.shape[2 + axis],
            weight.shape[2 + axis],
            stride[axis],
            padding[axis],
        )


def _phase(
    residue: int, inputs: int, outputs: int, kernel: int, stride: int, padding: int
) -> _Taps | None:
    """Return (slice of flipped taps, pads on both sides) for pixels h = residue + stride * i.

    Output pixel o read input pixel h through tap a = h + padding - stride * o. The taps are in
    descending order, so the output pixels i + offset ascend. Returns None if no tap fits.
    """
    taps = [a for a in reversed(range(kernel)) if (residue + padding - a) % stride == 0]
    if not taps:
        return None
    first, last = ((residue + padding - a) // stride for a in (taps[0], taps[-1]))
    pixels = len(range(residue, inputs, stride))
    return slice(kernel - 1 - taps[0], None, stride), -first, pixels - 1 + last - (outputs - 1)


def _convolve(gradient: Tensor, flipped: Tensor, vertical: _Taps, horizontal: _Taps) -> Tensor:
    """Convolve the output gradient with the taps of one pair of residues."""
    (rows, top, bottom), (columns, left, right) = vertical, horizontal
    filters = flipped[:, :, rows, columns]
    if top == bottom >= 0 and left == right >= 0:
        return functional.conv2d(gradient, filters, padding=(top, left))
    return functional.conv2d(functional.pad(gradient, (left, right, top, bottom)), filters)
