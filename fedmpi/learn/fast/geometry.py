"""The geometry of windows: tables of offsets that say which input each output position reads.

A window (kernel, stride, padding, dilation) is clipped at the border instead of reading
zeros there. Positions whose windows are clipped alike share one list of taps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.kernels.tables import SPARE

Pair: TypeAlias = tuple[int, int]
"""A pair (vertical, horizontal), (first, end) or (number, offset)."""
_Taps: TypeAlias = tuple[Pair, ...]
_Place: TypeAlias = tuple[int, _Taps]
_Run: TypeAlias = tuple[int, int, int]

# Lanes of a position block of the weight gradient, times the channels that are read
# together: 256 KiB. The fastest of 2^16 to 2^20 on the CNNs of FedLP and FedSkel.
_BLOCK = 1 << 16
_LARGE, _GAP = 2048, 9 * 16  # least floats of a plane with a gap behind it, and floats of the gap
_LEAST = 512  # least lanes of a block; fewer are not worth the sums over lanes at its end


@dataclass(frozen=True)
class Plane:
    """One channel: height x width positions of `lanes` floats, with a border of `halo` zeros.

    Channels that are `tight` follow each other without a gap.
    """

    height: int
    width: int
    lanes: int
    halo: int
    tight: bool

    @property
    def pitch(self) -> int:
        """Number of floats from one row of positions to the next."""
        return (self.width + 2 * self.halo) * self.lanes

    @property
    def size(self) -> int:
        """Number of floats of the plane."""
        return (self.height + 2 * self.halo) * self.pitch

    @property
    def stride(self) -> int:
        """Number of floats from one channel to the next.

        Kernels read the same positions of many channels. Large planes often have sizes near powers
        of two, so without a gap these positions would share a few sets of the cache.
        """
        return self.size if self.tight or self.size < _LARGE else self.size + _GAP

    def place(self, y: int, x: int) -> int:
        """Return the offset of a position; negative positions are in the halo."""
        return (y + self.halo) * self.pitch + (x + self.halo) * self.lanes


@dataclass(frozen=True)
class Window:
    """Kernel, stride, padding and dilation, each (vertical, horizontal)."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair = (1, 1)

    def output(self, height: int, width: int) -> Pair:
        """Return height and width of the output for an input of this height and width."""
        return self._output(0, height), self._output(1, width)

    def _output(self, axis: int, side: int) -> int:
        reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        return (side + 2 * self.padding[axis] - reach) // self.stride[axis] + 1

    @property
    def taps(self) -> int:
        """Number of entries of the kernel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def apart(self) -> bool:
        """True if no position is in two windows."""
        return all(k <= s and d == 1 for k, s, d in zip(self.kernel, self.stride, self.dilation))


@lru_cache(maxsize=512)
def gather(window: Window, out: Plane, src: Plane) -> tuple[Integers, Integers, Integers]:
    """Return (tap numbers, tap offsets, runs) by which each position of `out` reads `src`.

    For a run (place, at, lanes, t0, t1), the position at `place` of `out` reads `src` at
    at + offset[t] with tap t, t0 <= t < t1, which is entry number[t] of the kernel.
    """
    axes = [
        [_read(window, a, o, (src.height, src.width)[a], src.halo) for o in range(count)]
        for a, count in enumerate((out.height, out.width))
    ]
    return _tables(window, axes, out, src)


@lru_cache(maxsize=512)
def scatter(window: Window, out: Plane, src: Plane) -> tuple[Integers, Integers, Integers]:
    """Return the same tables for the backward pass.

    Each position of `out`, the window's input, collects from the positions of `src`, its output,
    that read it in the forward pass.
    """
    axes = [
        [_fed(window, a, i, (src.height, src.width)[a]) for i in range(count)]
        for a, count in enumerate((out.height, out.width))
    ]
    return _tables(window, axes, out, src)


def _read(window: Window, axis: int, position: int, side: int, halo: int) -> _Place:
    """Return (base, taps): tap k reads base + shift, for each (k, shift) in taps."""
    base = position * window.stride[axis] - window.padding[axis]
    steps = [(k, k * window.dilation[axis]) for k in range(window.kernel[axis])]
    return base, tuple((k, s) for k, s in steps if -halo <= base + s < side + halo)


def _fed(window: Window, axis: int, position: int, side: int) -> _Place:
    """Return (base, taps): tap k of the output at base + shift reads this position."""
    stride, moved = window.stride[axis], position + window.padding[axis]
    base = moved // stride
    found: list[Pair] = []
    for k in range(window.kernel[axis]):
        out, rest = divmod(moved - k * window.dilation[axis], stride)
        if rest == 0 and 0 <= out < side:
            found.append((k, out - base))
    return base, tuple(found)


def _tables(
    window: Window, axes: Sequence[Sequence[_Place]], out: Plane, src: Plane
) -> tuple[Integers, Integers, Integers]:
    """Return the tables of both axes: distinct lists of taps, and runs of positions sharing one."""
    starts: dict[tuple[_Taps, _Taps], int] = {}
    numbers: list[int] = []
    offsets: list[int] = []
    runs = []
    for y, (row, down) in enumerate(axes[0]):
        for x, size, column, along in _stretches(axes[1]):
            if (down, along) not in starts:
                starts[down, along] = len(numbers)
                numbers += [k * window.kernel[1] + j for k, _ in down for j, _ in along]
                offsets += [s * src.pitch + t * src.lanes for _, s in down for _, t in along]
            first = starts[down, along]
            end = first + len(down) * len(along)
            at = src.place(row, column)
            runs.append((out.place(y, x), at, size * out.lanes, first, end))
    return _ints(numbers), _ints(offsets), _ints(runs, 5)


def _stretches(axis: Sequence[_Place]) -> Iterator[tuple[int, int, int, _Taps]]:
    """Yield (first position, count, base, taps) of neighbours that can be read in one run."""
    steps = [base - position for position, (base, _) in enumerate(axis)]
    keyed = [(taps, step) for (_, taps), step in zip(axis, steps, strict=True)]
    position = 0
    for _, group in groupby(keyed):
        size = len(list(group))
        yield position, size, axis[position][0], axis[position][1]
        position += size


@lru_cache(maxsize=512)
def correlation(
    window: Window, out: Plane, src: Plane, channels: int, rows: int
) -> tuple[Integers, Integers, Integers, Integers]:
    """Return (right, col_out, runs, parts) of `tables.correlate_table` for the weights of a window.

    Taps that read the input for the same outputs are done together. A part has as many positions
    and channels as fit the cache beside the same positions of `rows` planes of the output.
    """
    most = max(_LEAST, _BLOCK // (channels + rows))
    abreast = _BLOCK // most
    right: list[int] = []
    places: list[int] = []
    runs: list[_Run] = []
    parts: list[tuple[int, ...]] = []
    for (down, along), taps in _groups(window, out, src).items():
        blocks = _blocks(window, down, along, out, src, most)
        ends = len(runs) + np.cumsum([0] + [len(block) for block in blocks])
        runs += [run for block in blocks for run in block]
        for first in range(0, channels, abreast):
            start = len(right)
            for c in range(first, min(first + abreast, channels)):
                right += [c * src.stride + shift for _, shift in taps]
                places += [c * window.taps + number for number, _ in taps]
            parts += [(start, len(right), *ends[b : b + 2]) for b in range(len(blocks))]
            right += right[-1:] * SPARE
            places += [-1] * SPARE
    return _ints(right), _ints(places), _ints(runs, 3), _ints(parts, 4)


def _groups(window: Window, out: Plane, src: Plane) -> dict[tuple[Pair, Pair], list[Pair]]:
    """Return {(rows, columns of outputs): [(number, offset)]} of the taps that read the input."""
    groups: dict[tuple[Pair, Pair], list[Pair]] = {}
    for k in range(window.kernel[0]):
        down = _met(window, 0, k, out.height, src.height, src.halo)
        for j in range(window.kernel[1]):
            along = _met(window, 1, j, out.width, src.width, src.halo)
            shift = k * window.dilation[0] * src.pitch + j * window.dilation[1] * src.lanes
            if down[0] < down[1] and along[0] < along[1]:
                groups.setdefault((down, along), []).append((k * window.kernel[1] + j, shift))
    return groups


def _met(window: Window, axis: int, tap: int, outputs: int, side: int, halo: int) -> Pair:
    """Return (first, end) of the outputs whose tap number `tap` is inside the input."""
    shift = tap * window.dilation[axis] - window.padding[axis]
    stride = window.stride[axis]
    first = max(0, -(-(-halo - shift) // stride))
    return first, max(first, min(outputs, (side + halo - 1 - shift) // stride + 1))


def _blocks(
    window: Window, down: Pair, along: Pair, out: Plane, src: Plane, most: int
) -> list[list[_Run]]:
    """Return lists of runs (offset in out, offset in src, lanes), each of about `most` lanes."""
    wide = window.stride[1] == 1
    blocks: list[list[_Run]] = [[]]
    lanes = 0
    for y in range(*down):
        row = y * window.stride[0] - window.padding[0]
        step = along[1] - along[0] if wide else 1
        for x in range(along[0], along[1], step):
            if lanes >= most:
                blocks.append([])
                lanes = 0
            column = x * window.stride[1] - window.padding[1]
            blocks[-1].append((out.place(y, x), src.place(row, column), step * out.lanes))
            lanes += step * out.lanes
    return blocks


def _ints(values: Sequence[Any], columns: int | None = None) -> Integers:
    """Return the values as int64[.], or as int64[., columns]."""
    array = np.array(values, np.int64)
    return array if columns is None else array.reshape(-1, columns)
