"""The optimiser of a chunk, which moves the weights of all clients, one row each, at once."""

import torch
from torch import Tensor

from fedmpi.learn.local import Local


class ChunkOptimizer:
    """SGD with momentum or Adam of K clients, as in torch.optim; vectors are float32[K, size].

    Parameters
    ----------
    local : Local
    width, size : int
    device : str
    """

    def __init__(self, local: Local, width: int, size: int, device: str) -> None:
        self._local, adam = local, local.optimizer == "adam"
        self._first, self._second = (
            torch.zeros(width, size, device=device) if wanted else None
            for wanted in (adam or local.momentum != 0, adam)
        )
        self._rate = torch.zeros(width, 1, device=device)  # minus the learning rate
        self._count = torch.zeros(width, 1, dtype=torch.float64, device=device)

    def enter(self, slot: int, lr: float) -> None:
        """Let a client begin in a slot."""
        self._rate[slot], self._count[slot] = -lr, 0
        for values in (self._first, self._second):
            if values is not None:
                values[slot] = 0

    def forget(self, slot: int, kept: Tensor) -> None:
        """Set a client's moments to 0 where `kept` bool[P], on the CPU, is False."""
        for values in (self._first, self._second):
            if values is not None:
                values[slot, : len(kept)] *= kept.to(values.device)

    def move(self, weights: Tensor, grad: Tensor, moving: Tensor | None) -> None:
        """Take a step of all clients, in place, where `moving` bool[K, size]; None: everywhere."""
        self._count += 1
        if self._first is not None and self._second is not None:
            change = self._adam(self._first, self._second, grad, moving)
        elif self._first is None:
            change = grad
        else:
            change = self._blend(self._first, grad, self._local.momentum, 1.0, moving)
        if moving is None:
            weights.addcmul_(change, self._rate)
        else:
            moved = weights.addcmul(change, self._rate)
            torch.where(moving, moved, weights, out=weights)

    def _adam(
        self, first: Tensor, second: Tensor, grad: Tensor, moving: Tensor | None
    ) -> Tensor:
        first = self._blend(first, grad, 0.9, 0.1, moving)
        second = self._blend(second, grad * grad, 0.999, 0.001, moving)
        mean = first / (1 - 0.9**self._count).float()
        spread = second / (1 - 0.999**self._count).float()
        return mean / (spread.sqrt() + 1e-8)

    def _blend(
        self, moment: Tensor, values: Tensor, keep: float, share: float, moving: Tensor | None
    ) -> Tensor:
        """Return keep * moment + share * values, and write it into `moment` where `moving`."""
        if moving is None:
            return moment.mul_(keep).add_(values, alpha=share)
        blended = (moment * keep).add_(values, alpha=share)
        torch.where(moving, blended, moment, out=moment)
        return blended
