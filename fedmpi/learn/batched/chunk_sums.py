"""The statistics that plans ask for, summed over the steps of a chunk's clients."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fedmpi.arrays import AnyArray
from fedmpi.layout import Layout
from fedmpi.learn.batched.one_pass import PassResult
from fedmpi.learn.batched.stacked_model import StackedModel
from fedmpi.learn.statistics import told_by_weights
from fedmpi.units import inputs_of


class ChunkSums:
    """Statistics of K clients; `wanted` names them as in Plan, and Report defines them.

    Sums over samples are float64, as in learn.statistics.
    """

    def __init__(
        self, layout: Layout, wanted: Sequence[str], width: int, many: StackedModel
    ) -> None:
        self._layout, self._wanted, device = layout, wanted, many.device
        self._at_output = many.at_output
        rows = [layer.rows for layer in layout.layers]
        sizes = {"activations": rows, "relevance": rows, "columns": inputs_of(layout)}
        self._lists = {
            name: [torch.zeros(width, n, dtype=torch.float64, device=device) for n in sizes[name]]
            for name in wanted if name in sizes
        }  # fmt: skip
        kinds = {"squares": torch.float32, "summed": torch.float32}
        kinds |= {"moved": torch.bool, "mask": torch.uint8}
        self._vectors = {
            name: torch.zeros(width, many.size, dtype=kinds[name], device=device)
            for name in wanted if name in kinds
        }  # fmt: skip
        self._kept: set[tuple[str, int]] = set()

    def enter(self, slot: int) -> None:
        """Begin the sums of a client in a slot."""
        for values in (*self._vectors.values(), *(v for vs in self._lists.values() for v in vs)):
            values[slot] = 0
        self._kept.discard(("mask", slot))

    def see(self, point: Tensor, grad: Tensor, count: Tensor, found: PassResult) -> None:
        """Add one step: gradients [K, size] at `point`, of mean losses over `count` samples."""
        for number, new in found.activations.items():
            self._lists["activations"][number] += new
        if "squares" in self._vectors:
            self._vectors["squares"] += grad * grad
        if "summed" in self._vectors:
            self._vectors["summed"] += grad
        if "relevance" in self._lists:
            self._relevance(point, grad, count, found.pulls)

    def moved(self, moving: Tensor | None) -> None:
        """Add one step: `moving` bool[K, size] marks the weights that it may have moved."""
        if moving is not None and "moved" in self._vectors:
            self._vectors["moved"] |= moving

    def columns(self, slot: int, point: Tensor, grad: Tensor, count: int) -> None:
        """Add one batch of a client: -w dL/dw, summed over the weights that read each input."""
        for number, tensors in enumerate(self._layout.layer_tensors):
            tensor = self._layout.tensors[tensors[0]]
            into = self._lists["columns"][number]
            block = tensor.block
            product = (point[block] * grad[block]).reshape(tensor.rows, into.shape[1], -1)
            into[slot] -= count * product.sum((0, 2)).double()

    def keep(self, name: str, slot: int, values: AnyArray) -> None:
        """Set a finished statistic of a client, if it is wanted."""
        if name not in self._vectors:
            return
        row = self._vectors[name][slot]
        row[: len(values)] = torch.tensor(values).to(row.device, row.dtype)
        self._kept.add((name, slot))

    def result(self, slot: int) -> dict[str, Any]:
        """Return a client's statistics by name, on the device; "mask" only if it was set."""
        size = self._layout.size
        found: dict[str, Any] = {
            name: values[slot, :size]
            for name, values in self._vectors.items()
            if name != "mask" or (name, slot) in self._kept
        }
        lists = {name: [values[slot] for values in vs] for name, vs in self._lists.items()}
        return {name: (found | lists)[name] for name in self._wanted if name in found | lists}

    def _relevance(
        self, point: Tensor, grad: Tensor, count: Tensor, pulls: Mapping[int, Tensor]
    ) -> None:
        """Subtract z dL/dz of each row, which is sum(w dL/dw) over its weight and bias."""
        for number, pull in pulls.items():
            self._lists["relevance"][number] -= count[:, None] * pull.double()
        for number, tensors in told_by_weights(self._layout, self._at_output):
            for tensor in tensors:
                block = tensor.block
                product = (point[:, block] * grad[:, block]).reshape(len(point), tensor.rows, -1)
                self._lists["relevance"][number] -= count[:, None] * product.sum(2).double()
