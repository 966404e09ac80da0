"""Messages between the ranks of a run: a range of a PackedField as bytes, and back.

A message has a head of eight int64 (bytes in all, lo, hi, units, values, support kind, weight
kind, entries of the weight table) and four streams that begin at multiples of 8: support, weight
table, weights, values. It needs no more, since the ranks of one run share byte order and version.
Messages of simulated clients have a format of their own, with version and checksum.
"""

from collections.abc import Iterable
from itertools import accumulate

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Octets
from fedmpi.comm.reduce.field import Field, Units
from fedmpi.comm.reduce.link import Link
from fedmpi.comm.reduce.packed import PackedField

LIST, BITS, FULL = range(3)  # support: indices, a bit for each unit of the range, all units
ONE, CODED, EACH = range(3)  # weights: one for all (or none), byte indices of a table, plain
HEAD = 64


def encode(link: Link, field: PackedField, lo: int, hi: int) -> Octets:
    """Return the touched part of the coordinates lo..hi-1 as uint8[size].

    The result is in a workspace of `link` and valid until the next call.
    """
    units, values, weights = listed(link, field, lo, hi)
    m, k = units.size, values.size
    kind, support = _support(field, lo, hi, units)
    weighing, table, weights = _coded(link, weights)
    streams = [stream.view(np.uint8) for stream in (support, table, weights, values)]
    ends = _ends(stream.size for stream in streams)
    out = link.take("encoded", ends[-1])
    out[:HEAD].view(np.int64)[:] = ends[-1], lo, hi, m, k, kind, weighing, table.size
    for stream, at in zip(streams, ends, strict=False):
        out[at : at + stream.size] = stream
    return out


def listed(
    link: Link, field: PackedField, lo: int, hi: int
) -> tuple[Units, AnyArray, AnyArray]:
    """Return the touched (units, values, weights) of lo..hi-1, in workspaces of `link`.

    Weights are included only if every coordinate is a unit. Larger units have few weights, which
    are summed separately.
    """
    units, size = field.units(lo, hi, lambda size: link.take("units", size))
    cover = moving(field)
    values = link.take("values", size * field.total.itemsize).view(field.total.dtype)
    weights = link.take("weights", cover.itemsize * units.size * (cover.size > 0))
    weights = weights.view(cover.dtype)
    kernels.merge.take(field.total, cover, field.starts, lo, hi, units, values, weights)
    return units, values, weights


def moving(field: Field) -> AnyArray:
    """Return the weights that are sent with the values: `cover`, or an empty array."""
    return field.cover if field.flat else field.cover[:0]


def drop(link: Link, field: PackedField, lo: int, hi: int) -> None:
    """Set the coordinates lo..hi-1 and their marks to zero, in place."""
    units, _ = field.units(lo, hi, lambda size: link.take("units", size))
    whole = field.total, moving(field), field.touched, field.starts
    kernels.merge.drop(*whole, lo, hi, units)
    field.words(lo, hi)[:] = 0


def add(link: Link, field: PackedField, message: Octets, *, fresh: bool = False) -> None:
    """Add an encoded range to `field`, in place.

    With `fresh`, the units of the message replace those of the field instead of being added. The
    message must then hold every unit that the field has touched in the range.
    """
    _, lo, hi, m, k, kind, weighing, entries = (int(x) for x in message[:HEAD].view(np.int64))
    first, last = field.span(lo, hi)
    cover = moving(field)
    sizes = (
        {LIST: 4 * m, BITS: -(-(last - first) // 64) * 8, FULL: 0}[kind],
        entries * cover.itemsize,
        {ONE: 0, CODED: m, EACH: m * cover.itemsize}[weighing],
        k * field.total.itemsize,
    )
    support, table, weights, values = (
        message[at : at + size] for at, size in zip(_ends(sizes), sizes, strict=False)
    )
    values = values.view(field.total.dtype)
    if weighing == EACH:
        weights = weights.view(cover.dtype)
    else:
        weights = table.view(cover.dtype)[weights if weighing == CODED else slice(None)]
    if kind == FULL and field.flat:
        if fresh:
            field.total[lo:hi], cover[lo:hi] = 0, 0
        field.total[lo:hi] += values
        field.mark(lo, hi)
        if cover.size:
            cover[lo:hi] += weights
        return
    units = _units(link, kind, support, first, last, m)
    kernels.merge.add_list(
        field.total, cover, field.touched, field.starts, lo, hi, units, values, weights, fresh
    )
    if field.flat and kind == BITS:
        field.words(lo, hi)[:] |= support.view(np.uint64)
    elif field.flat:
        kernels.pack.set_bits(units, field.bits)


def clear_negative_zeros(field: Field, lo: int, hi: int) -> None:
    """Give the finished coordinates lo..hi-1 the bits that they will have on the other ranks.

    Exact sums are unchanged. In float32, -0 becomes +0, as it does on the ranks that receive the
    range and add it to zeros.
    """
    if not field.exact:
        field.total[lo:hi] += np.float32(0)


def support_bytes(units: float, among: float) -> float:
    """Return the bytes of the shortest support with `units` of `among` units marked."""
    return 0 if units == among else min(4 * units, among // 8)


def _support(field: PackedField, lo: int, hi: int, units: Units) -> tuple[int, AnyArray]:
    """Return (kind, stream) of the shortest support."""
    first, last = field.span(lo, hi)
    if units.size == last - first:
        return FULL, units[:0]
    if 32 * units.size > last - first:
        return BITS, field.support(lo, hi)
    return LIST, units


def _units(link: Link, kind: int, support: Octets, first: int, last: int, m: int) -> Units:
    """Return the m marked units in a support that covers the units first..last-1."""
    if kind == LIST:
        return support.view(np.uint32)
    if kind == FULL:
        return np.arange(first, last, dtype=np.uint32)
    units = link.take("units", 4 * m).view(np.uint32)
    kernels.pack.bit_positions(support.view(np.uint64), first, units)
    return units


def _coded(link: Link, weights: AnyArray) -> tuple[int, AnyArray, AnyArray]:
    """Return (kind, table, weights) in the kind with the fewest bytes."""
    if weights.size == 0 or (weights == weights[0]).all():
        return ONE, weights[:1], weights[:0]
    bits = weights.view(f"i{weights.itemsize}")
    table, codes = np.empty(256, bits.dtype), link.take("codes", weights.size)
    used = kernels.weights.classify(bits, table, codes)
    if used < 0:
        return EACH, weights[:0], weights
    return CODED, table[:used].view(weights.dtype), codes


def _ends(sizes: Iterable[int]) -> list[int]:
    """Return the offset of each stream in a message, and the end of the last."""
    return list(accumulate((-(-size // 8) * 8 for size in sizes), initial=HEAD))
