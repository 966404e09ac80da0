"""The device memory that a chunk needs, measured on the CPU with one and two clients."""

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fedmpi.arrays import AnyArray
from fedmpi.layout import Layout
from fedmpi.learn.batched.first_pass import draws_numbers
from fedmpi.learn.batched.first_targets import first_targets
from fedmpi.learn.batched.one_pass import Batches, PassRequest
from fedmpi.learn.batched.stacked_model import ALIGNED, StackedModel, stacks
from fedmpi.learn.draws import Draws
from fedmpi.learn.engine import ClientData

CUDA = 800_000_000  # assumed bytes of a CUDA context and the workspaces of its libraries
_VECTORS = 8  # float32 vectors per client that plans may add: masks, controls, statistics


class Peak(TorchDispatchMode):
    """Counts the bytes of all live tensors that were made in its block.

    Attributes
    ----------
    now, most : int
        The current number of bytes, and the largest so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, torch.Tensor):
                self._take(one.untyped_storage())
        return found

    def _take(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._give, size)

    def _give(self, size: int) -> None:
        self.now -= size


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes that a rank needs on its device: `fixed`, and `each` for each slot of a chunk."""

    fixed: int
    each: int

    def of(self, slots: int) -> int:
        """Return the bytes that `slots` slots need."""
        return self.fixed + slots * self.each

    def fitting(self, there: int) -> int:
        """Return the most slots, a multiple of ALIGNED, that fit into `there` bytes (0 if none)."""
        return max(0, (there - self.fixed) // self.each) // ALIGNED * ALIGNED


def device_memory(
    module: torch.nn.Module, layout: Layout, x: AnyArray, data: ClientData, held: int
) -> DeviceMemory:
    """Return the DeviceMemory for training a module in chunks, measured on the CPU.

    Parameters
    ----------
    module : torch.nn.Module
    layout : Layout
    x : array [1, ...]
        One input.
    data : ClientData
    held : int
        Bytes of the data set, of which each rank keeps a copy on its device.
    """
    sample, local, drawn = torch.as_tensor(x), data.local, data.largest_drawn(x)
    stacked, draws = stacks(layout, "cuda"), draws_numbers(module, sample)
    many = StackedModel(module, layout, stacked=stacked, draws=draws)
    few, more = (_peak(many, sample, local.batch_size, count, data.loss) for count in (1, 2))
    optimizer = 2 if local.optimizer == "adam" else 1
    vectors = 4 * many.size * (2 + optimizer + _VECTORS)
    return DeviceMemory(CUDA + held + max(0, 2 * few - more), more - few + vectors + drawn)


def _peak(many: StackedModel, x: torch.Tensor, batch_size: int, count: int, loss: str) -> int:
    weights = torch.zeros(count, many.size)
    draws = [Draws(0, 0, client) for client in range(count)]
    outputs = many.outputs(weights[0], x)
    targets = first_targets(loss, outputs.expand(batch_size, *outputs.shape[1:]))
    into, size = torch.zeros_like(weights), (count, batch_size)
    with Peak() as peak:
        batch = x.expand(*size, *x.shape[1:]).clone()
        y, valid = torch.stack([targets] * count), torch.ones(size, dtype=torch.bool)
        batches = Batches(batch, y, valid, [batch_size] * count)
        many.gradient(weights, batches, [], into, PassRequest(loss), draws)
    most: int = peak.most
    return most


def device_bytes(device: str) -> int | None:
    """Return the bytes of memory of a GPU; None for the CPU."""
    if device == "cpu":
        return None
    return int(torch.cuda.get_device_properties(device).total_memory)
