"""Asynchronous copies of values from the device to the host."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class HostCopy:
    """Copies of tensors, or lists of tensors, by name; from a GPU they go into pinned memory.

    The tensors may be changed afterwards, because the copies are ordered with respect to the
    operations before and after them.
    """

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        self._held = {
            name: [_sent(one) for one in values] if isinstance(values, list) else _sent(values)
            for name, values in tensors.items()
        }
        self._event = None
        firsts = map(_first, tensors.values())
        if any(first.is_cuda for first in firsts if first is not None):
            self._event = torch.cuda.Event()
            self._event.record()

    def arrays(self) -> dict[str, Any]:
        """Return the copies as arrays; waits only for them, not for later work of the device."""
        if self._event is not None:
            self._event.synchronize()
        return {
            name: [one.numpy() for one in held] if isinstance(held, list) else held.numpy()
            for name, held in self._held.items()
        }


def _first(values: Any) -> Tensor | None:
    found: Tensor | None = next(iter(values), None) if isinstance(values, list) else values
    return found


def _sent(values: Tensor) -> Tensor:
    if not values.is_cuda:
        return values.clone()
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return host.copy_(values, non_blocking=True)
