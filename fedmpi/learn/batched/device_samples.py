"""Samples on the device, from which batches are gathered there."""

import warnings

import numpy as np
import torch
from torch import Tensor

from fedmpi.arrays import AnyArray
from fedmpi.learn.sample_arrays import Samples


class DeviceSamples:
    """Samples on a device: images as bytes, normalised when taken, and targets as in Samples.

    Parameters
    ----------
    samples : Samples
    device : str
    """

    def __init__(self, samples: Samples, device: str) -> None:
        self.x = on(device, samples.x)
        kind = torch.float32 if samples.y.dtype.kind == "f" else torch.int64
        self.y, self._following = on(device, samples.y).to(kind), samples.following
        self._norm = None
        if samples.norm is not None:
            shape = (-1, *[1] * (self.x.dim() - 2))
            self._norm = [on(device, one).view(shape) for one in samples.norm]

    def take(self, index: Tensor, lines: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x [*n, ...] and the targets [*n, ...] of the samples `index` int64[*n].

        With `lines` int64[*n, H + W], images are shifted: `lines` are their source rows and
        columns.
        """
        x, y = self.x[index] if lines is None else self._moved(index, lines), self.y[index]
        if self._following:
            y = torch.cat((x[..., 1:].to(torch.int64), y[..., None]), dim=-1)
        return self.normalised(x), y

    def _moved(self, index: Tensor, lines: Tensor) -> Tensor:
        height = self.x.shape[2]
        rows, columns = lines[..., :height], lines[..., height:]
        channels = torch.arange(self.x.shape[1], device=self.x.device)[:, None, None]
        return self.x[
            index[..., None, None, None], channels, rows[..., None, :, None],
            columns[..., None, None, :],
        ]  # fmt: skip

    def normalised(self, x: Tensor) -> Tensor:
        """Return images uint8[..., C, H, W] as normalised float32, and other samples unchanged."""
        if self._norm is None:
            return x
        scale, shift = self._norm
        return x.float() * scale + shift


def on(device: str, array: AnyArray) -> Tensor:
    """Return an array on the device; on the CPU it is not copied, so it must not change.

    The strides are made to follow from the shape. An axis with one entry may have any stride, but
    torch chooses the algorithm of a convolution by it.
    """
    array = np.ascontiguousarray(array)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about an array that is read-only
        return torch.from_numpy(array.reshape(-1)).to(device).view(array.shape)
