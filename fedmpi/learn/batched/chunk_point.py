"""The point at which the gradients of a chunk's clients are taken, if not at their weights."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from fedmpi.arrays import Vector
from fedmpi.learn.draws import Draws
from fedmpi.plan import Plan


class ChunkPoint:
    """`scores`, `power` and `importance` of K clients, as in the docstring of Plan.

    Parameters
    ----------
    mechanisms : set of str
        The mechanisms of the plans.
    inside : int64[n]
        On the device: the coordinates of the tensors to which power and importance apply.
    width, size : int
        Vectors are float32[K, size].
    """

    def __init__(
        self, mechanisms: Iterable[str], inside: Tensor, width: int, size: int
    ) -> None:
        self._asked, self._inside = {"scores", "power", "importance"} & set(mechanisms), inside
        self._numbers = torch.ones(2, width, 1, device=inside.device)  # power, importance
        self._fixed: Tensor | None = None
        if "scores" in self._asked:
            self._fixed = torch.zeros(width, size, device=inside.device)

    def enter(self, slot: int, plan: Plan, fixed: Vector | None) -> None:
        """Let a client begin in a slot; `fixed` float32[P'] are the weights behind its scores."""
        self._numbers[:, slot, 0] = torch.tensor([plan.power, plan.importance]).to(
            self._numbers.device
        )
        if self._fixed is not None and fixed is not None:
            self._fixed[slot, : len(fixed)] = torch.tensor(fixed).to(self._fixed.device)

    def of(
        self, weights: Tensor, moving: Tensor | None, draws: Sequence[Draws | None], length: int,
        slots: slice = slice(None),
    ) -> tuple[Tensor, Tensor | None]:
        """Return the point of this step, and the factors of its gradient (None for 1).

        Parameters
        ----------
        weights : float32[K, size]
            With masks applied; only read.
        moving : bool[K, size]
            True where weights are scores.
        draws : list of K Draws
            The Draws of the clients that take this step; None elsewhere.
        length : int
            Number of coordinates of the network, P'.
        slots : slice
            The slots of the chunk to which weights, moving and draws belong.
        """
        slope = None
        if self._fixed is not None and moving is not None:
            chance, numbers = weights.double().sigmoid(), torch.zeros(weights.shape)
            for slot, own in enumerate(draws):
                if own is not None:
                    numbers[slot, :length] = torch.from_numpy(own.numbers(length))
            there = numbers.to(weights.device) < chance
            fixed = self._fixed[slots]
            slope = torch.where(moving, (fixed * chance * (1 - chance)).float(), 1.0)
            weights = torch.where(moving, fixed * there, weights)
        if "power" in self._asked:
            power, inner = self._numbers[0, slots], weights[:, self._inside]
            slope = self._steeper(slope, weights, power * inner.abs() ** (power - 1))
            weights = weights.index_copy(1, self._inside, inner.sign() * inner.abs() ** power)
        if "importance" in self._asked:
            most, inner = self._numbers[1, slots], weights[:, self._inside].abs()
            slope = self._steeper(slope, weights, 1 + 2 * most * inner / (inner + most) ** 2)
        return weights, slope

    def _steeper(self, slope: Tensor | None, weights: Tensor, values: Tensor) -> Tensor:
        """Return the slope float32[K, size] so far (None: 1), multiplied by `values` inside."""
        whole = torch.ones_like(weights) if slope is None else slope
        return whole.index_copy(1, self._inside, whole[:, self._inside] * values)
