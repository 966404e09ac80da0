"""Supports as segments of a message, cut and coded to take the fewest bytes.

A segment covers a run of consecutive tensors; a tensor in no segment is absent from the message.
A support of coordinates is cut by layer or by tensor if that is smaller. Supports of other levels
have few units and take one segment. `fedmpi.comm.formats` has the formats of a segment.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Flags, Integers, Octets
from fedmpi.comm import formats, wire
from fedmpi.errors import MessageError
from fedmpi.layout import Layout, Support


class Segment(NamedTuple):
    """One segment: format, tensors `first` to `stop` - 1, number of units, stream uint8[...]."""

    kind: int
    first: int
    stop: int
    kept: int
    stream: Octets


def write(support: Support, known: bool) -> list[Segment]:
    """Return the segments that state `support` in the fewest bytes.

    If the receiver knows the support (`known`), its hash is one of the choices.
    """
    tensors = len(support.layout.tensors)
    kept = kernels.pack.count(support.keep)[0]
    if kept == 0:
        return []
    if kept == support.keep.size:
        choices = [[Segment(wire.DENSE, 0, tensors, kept, formats.NOTHING)]]
    elif support.level == "coordinate":
        choices = [_cut(support, bounds) for bounds in _cuts(support.layout)]
    else:
        kind, kept, stream = formats.smallest(support.keep)
        choices = [[Segment(kind, 0, tensors, kept, stream)]]
    if support.level == "row" and kept < support.keep.size:
        rows = _shared_rows(support.layout, support.keep)
        if rows is not None:
            stream = formats.encode(wire.BITMAP, rows)
            choices.append([Segment(wire.ROWS, 0, tensors, kept, stream)])
    if known:
        choices.append([Segment(wire.PACKED, 0, tensors, kept, digest(support))])
    return min(choices, key=_bytes)


def read(
    layout: Layout, level: str, table: AnyArray, streams: Iterable[Octets], known: Support | None
) -> Support:
    """Return the Support that the segments of a message state.

    `table` is wire.ENTRY[S], and `streams` are the S support streams, uint8[...] each. Raises
    MessageError if they contradict each other or the layout.
    """
    keep = np.zeros(len(layout.starts(level)) - 1, np.uint8)
    for entry, stream in zip(table, streams):
        kind, first, stop = int(entry["kind"]), int(entry["first"]), int(entry["stop"])
        flags = keep
        if stop > len(layout.tensors):
            raise MessageError(f"message: segment of tensors {first} to {stop}; there are fewer")
        if level == "coordinate" and kind != wire.PACKED:
            ends = [tensor.start for tensor in layout.tensors] + [layout.size]
            flags = keep[ends[first] : ends[stop]]
        elif (first, stop) != (0, len(layout.tensors)) or len(table) > 1:
            raise MessageError(
                f"message: a support by {level}, as {wire.KINDS[kind]}, that is cut into segments"
            )
        if kind == wire.PACKED:
            _look_up(known, level, stream, keep)
        elif kind == wire.ROWS:
            _read_rows(layout, level, stream, keep)
        else:
            formats.decode(kind, stream, int(entry["kept"]), flags)
        if kernels.pack.count(flags)[0] != entry["kept"]:
            raise MessageError(f"message: a segment of {entry['kept']} units holds another number")
    return Support(layout, level, keep)


def count(support: Support) -> int:
    """Return the number of coordinates that `support` holds."""
    if support.level == "coordinate":
        return int(kernels.pack.count(support.keep)[0])
    starts = support.starts
    return int((starts[1:] - starts[:-1])[support.keep != 0].sum())


def digest(support: Support) -> Octets:
    """Return the hash of a support as it is sent, uint8[16]."""
    return np.frombuffer(support.digest, np.uint8)


def _cuts(layout: Layout) -> list[list[int]]:
    """Return the ways to cut the tensors into segments: lists of bounds, coarsest first."""
    layers = [tensor.layer for tensor in layout.tensors]
    tensors = list(range(len(layers) + 1))
    by_layer = [t for t in tensors if t in (0, len(layers)) or layers[t] != layers[t - 1]]
    cuts = [[0, len(layers)]]
    return cuts + [cut for cut in (by_layer, tensors) if len(cut) > len(cuts[-1])]


def _cut(support: Support, bounds: Sequence[int]) -> list[Segment]:
    """Return the segments of a support of coordinates, cut at `bounds` (indices of tensors)."""
    starts = [tensor.start for tensor in support.layout.tensors] + [support.layout.size]
    segments: list[Segment] = []
    for first, stop in itertools.pairwise(bounds):
        kind, kept, stream = formats.smallest(support.keep[starts[first] : starts[stop]])
        if kept == 0:
            continue
        last = segments[-1] if segments else None
        if last and kind == last.kind == wire.DENSE and first == last.stop:
            segments.pop()
            first, kept = last.first, last.kept + kept
        segments.append(Segment(kind, first, stop, kept, stream))
    return segments


def _bytes(segments: Sequence[Segment]) -> tuple[int, int]:
    """Return (bytes of `segments` in a message, bytes of their streams without padding)."""
    sizes = [segment.stream.size for segment in segments]
    return sum(map(wire.padded, sizes)) + wire.ENTRY.itemsize * len(sizes), sum(sizes)


def _look_up(known: Support | None, level: str, stream: Octets, keep: Flags) -> None:
    """Copy the units of `known` to `keep`; raise MessageError unless `stream` is its hash."""
    fits = known is not None and known.level == level and known.keep.size == keep.size
    if known is None or not fits or not np.array_equal(stream, digest(known)):
        raise MessageError("message: refers to a support that is not the one its receiver has")
    keep[:] = known.keep != 0


def _shared_rows(layout: Layout, keep: Flags) -> Flags | None:
    """Return the rows of all layers, uint8[R], or None if tensors of a layer keep other rows."""
    first, of = layout.shared_rows
    rows = keep[first]
    return rows if len(rows) and np.array_equal(_spread(rows, of), keep) else None


def _spread(rows: Flags, of: Integers) -> Flags:
    """Expand the shared rows uint8[R] to units uint8[U]; units of no shared row are set."""
    whole: Flags = np.append(rows, np.uint8(1))[of]
    return whole


def _read_rows(layout: Layout, level: str, stream: Octets, keep: Flags) -> None:
    """Write the units of a bitmap of shared rows to `keep`, in place."""
    if level != "row":
        raise MessageError(f"message: rows for a support by {level}")
    first, of = layout.shared_rows
    rows = np.zeros(len(first), np.uint8)
    formats.decode(wire.BITMAP, stream, 0, rows)
    keep[:] = _spread(rows, of)
