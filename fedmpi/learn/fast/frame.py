"""The memory layout for batches of one width."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from fedmpi.arrays import Integers, Vector
from fedmpi.learn.fast.geometry import Plane
from fedmpi.learn.fast.step import Step, Value

Number = TypeVar("Number", int, Integers)

LANES = 16  # of a vector; frames have room behind each value, because kernels read whole vectors


class Frame:
    """Offsets in memory of all activations and gradients for batches of up to `lanes` samples.

    `memory` float32[.] is a 64-byte aligned buffer of at least `floats` floats, which frames of
    other widths share; every offset in it is a multiple of 16 floats. It must be set before the
    frame is used, and cleared by `clear` if a frame of another width was used before. `mask`
    float32[16 lanes] is 1 for the samples of the current batch, in 16 positions, and `samples`
    int64[1] is their number. `saved` holds the arrays that steps keep from the forward pass for the
    backward pass, and `shared` the offsets of memory that several steps use in turn.
    """

    def __init__(self, values: Sequence[Value], steps: Sequence[Step], lanes: int) -> None:
        self.lanes = lanes
        self.values, self.steps = values, steps
        self.mask, self.samples = np.zeros(LANES * lanes, np.float32), np.zeros(1, np.int64)
        # Number of floats of memory that the frame needs. The first block stays free, so that no
        # offset is 0 and a gate of 0 means none.
        self.floats = LANES
        self.planes = _planes(values, lanes)
        self.place: dict[Value, int] = {}
        self.grad: dict[Value, int] = {}
        for value in values:
            like = None if value.like is None else self.place[value.like]
            self.place[value] = self.reserve(self.size(value)) if like is None else like
        self._give_gradients()
        self._channels = [
            {v: places[v] + np.arange(v.channels) * self.planes[v].stride for v in values}
            for places in (self.place, self.grad)
        ]
        self.saved: dict[Step, Vector] = {}
        self.shared: dict[str, int] = {}
        self._wishes: dict[str, int] = {}
        for step in steps:
            step.reserve(self)
        for name, size in self._wishes.items():
            self.shared[name] = self.reserve(size)
        self.memory = aligned(0)

    def clear(self) -> None:
        """Write the zeros that kernels read but never write."""
        first = self.values[0]
        places = [(self.place[first], self.size(first))] if first.halo else []
        for step in self.steps:
            places += step.blank(self)
        for start, size in places:
            self.memory[start : start + size] = 0

    def channels(
        self, value: Value, kept: Integers | None = None, gradient: bool = False
    ) -> Integers:
        """Return int64[.]: the offsets of a value's planes, of all or of those in `kept`."""
        planes = self._channels[gradient][value]
        return planes if kept is None else planes[kept]

    def gate(self, value: Value) -> int:
        """Return the offset from a value's gradient to the value if a ReLU made it; else 0."""
        return self.place[value] - self.grad[value] if value.relu else 0

    def size(self, value: Value) -> int:
        """Return the number of floats of a value, including the gaps behind its channels."""
        return value.channels * self.planes[value].stride

    def outputs(self, gradient: bool = False) -> Vector:
        """Return float32[outputs, lanes], a view of the network's outputs or of their gradient."""
        out = self.values[-1]
        start = (self.grad if gradient else self.place)[out]
        return self.memory[start : start + self.size(out)].reshape(out.channels, -1)

    def entry(self) -> Integers:
        """Return int64[D]: the offset of each number of a sample."""
        value = self.values[0]
        plane = self.planes[value]
        rows = np.array([plane.place(y, 0) for y in range(value.height)])
        within = rows[:, None] + np.arange(value.width) * self.lanes
        return (self.channels(value)[:, None] + within.reshape(1, -1)).reshape(-1)

    def _give_gradients(self) -> None:
        """Place the gradients; memory is reused after a step has read its output's gradient.

        A value that only a sum reads has the gradient of the sum, so both share one place.
        """
        holes = _Holes(self)
        sharing: dict[Value, set[Value]] = {}
        self._place_gradient(self.steps[-1].out, holes, sharing)
        for step in reversed(self.steps):
            if step.passes_on and step.source.readers == 1 and not step.source.relu:
                self.grad[step.source] = self.grad[step.out]
                sharing[step.source] = sharing[step.out]
                sharing[step.out].add(step.source)
            for value in step.sources:
                self._place_gradient(value.like or value, holes, sharing)
            sharers = sharing[step.out]
            sharers.discard(step.out)
            if not sharers:
                holes.give(self.grad[step.out], self.size(step.out))
        for value in self.values:
            if value.like is not None:
                self.grad[value] = self.grad[value.like]

    def _place_gradient(
        self, value: Value, holes: "_Holes", sharing: dict[Value, set[Value]]
    ) -> None:
        if value not in self.grad:
            self.grad[value] = holes.take(self.size(value))
            sharing[value] = {value}

    def share(self, name: str, size: int) -> None:
        """Request `size` floats, which all steps that request the same `name` use in turn.

        `shared[name]` is their offset.
        """
        self._wishes[name] = max(size, self._wishes.get(name, 0))

    def reserve(self, size: int) -> int:
        """Return the offset of `size` new floats, with at least one more block behind them."""
        start = self.floats
        self.floats += whole(size) + LANES
        return start


class _Holes:
    """Memory of a frame that has become free."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._free: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        """Return the offset of `size` floats: the smallest hole that fits, or new memory."""
        fitting = [hole for hole in self._free if hole[1] >= size]
        if not fitting:
            return self._frame.reserve(size)
        place, room = hole = min(fitting, key=lambda hole: hole[1])
        self._free.remove(hole)
        if room > size:
            self._free.append((place + whole(size), room - whole(size)))
        return place

    def give(self, place: int, size: int) -> None:
        """Mark `size` floats at `place` as free."""
        self._free.append((place, size))


def _planes(values: Sequence[Value], lanes: int) -> dict[Value, Plane]:
    """Return the Plane of each value; vectors, and values of shapes viewed as vectors, are tight.

    Values of equal shapes have equal planes, because sums of values need that.
    """
    vectors = {v.like.shape for v in values if v.like}
    planes = {}
    for v in values:
        tight = v.height * v.width == 1 or v.shape in vectors
        planes[v] = Plane(v.height, v.width, lanes, v.halo, tight)
    return planes


def lanes_for(samples: int, usual: int) -> int:
    """Return the width of the frame for a batch of `samples`, where `usual` is the batch size.

    It is `usual` for the usual batch. All other batches have multiples of 16 lanes, but no short
    batch has more than `usual`, so few frames are made.
    """
    return min(whole(samples), usual) if samples <= usual else whole(samples)


def whole(size: Number) -> Number:
    """Return the lanes of the vectors that hold `size` lanes, of an integer or each of int64[.]."""
    return -(-size // LANES) * LANES


def aligned(size: int) -> Vector:
    """Return float32[size] of zeros, starting on a cache line."""
    block = np.zeros(size + LANES, np.float32)
    start = -(block.ctypes.data // 4) % LANES
    return block[start : start + size]
