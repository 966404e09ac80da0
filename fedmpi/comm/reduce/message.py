"""A range of a Field as bytes and back: what ranks of one run send each other.

Eight int64 (bytes in all, lo, hi, units, values, support kind, weight kind, entries of
the weight table) and four streams that begin at multiples of 8: support, weight table,
weights, values. Ranks of one run share byte order and version, so nothing more is
said; what simulated clients send has its own format with version and checksum.
"""

from itertools import accumulate

import numpy as np

from fedmpi import kernels
from fedmpi.comm.reduce.bfloat16 import narrowed, widened

LIST, BITS, FULL = range(3)  # support: indices, one bit per unit of the range, all units
ONE, CODED, EACH = range(3)  # weights: one for all (or none), a byte into a table, plain
HEAD = 64


def encode(wire, field, lo, hi):
    """Return the touched part of the coordinates lo..hi-1 as uint8[size].

    The bytes lie in a workspace of `wire`, valid until the next call. Weights go along
    only if every coordinate is a unit; else they are few and are summed apart.
    """
    m, k = field.count(lo, hi)
    first, last = field.span(lo, hi)
    cover = field.cover if field.flat else field.cover[:0]
    units = wire.take("units", 4 * m).view(np.uint32)
    values = wire.take("values", k * field.total.itemsize).view(field.total.dtype)
    weights = wire.take("weights", m * cover.itemsize * (cover.size > 0)).view(cover.dtype)
    kernels.merge.emit(
        field.total, cover, field.touched, field.starts, lo, hi, units, values, weights
    )
    kind, support = _support(field.touched[first:last], units)
    weighing, table, weights = _coded(wire, weights)
    values = narrowed(values) if narrow(wire, field) else values
    streams = [stream.view(np.uint8) for stream in (support, table, weights, values)]
    ends = _ends(stream.size for stream in streams)
    out = wire.take("encoded", ends[-1])
    out[:HEAD].view(np.int64)[:] = ends[-1], lo, hi, m, k, kind, weighing, table.size
    for stream, at in zip(streams, ends, strict=False):
        out[at : at + stream.size] = stream
    return out


def add(wire, field, message):
    """Add an encoded range to `field`, in place."""
    _, lo, hi, m, k, kind, weighing, entries = (int(x) for x in message[:HEAD].view(np.int64))
    first, last = field.span(lo, hi)
    cover = field.cover if field.flat else field.cover[:0]
    value = np.dtype(np.uint16) if narrow(wire, field) else field.total.dtype
    sizes = (
        {LIST: 4 * m, BITS: -(-(last - first) // 8), FULL: 0}[kind],
        entries * cover.itemsize,
        {ONE: 0, CODED: m, EACH: m * cover.itemsize}[weighing],
        k * value.itemsize,
    )
    support, table, weights, values = (
        message[at : at + size] for at, size in zip(_ends(sizes), sizes, strict=False)
    )
    values = values.view(value) if value == field.total.dtype else widened(values.view(value))
    if weighing == EACH:
        weights = weights.view(cover.dtype)
    else:
        weights = table.view(cover.dtype)[weights if weighing == CODED else slice(None)]
    if kind == FULL and field.flat:
        field.total[lo:hi] += values
        field.touched[lo:hi] = 1
        if cover.size:
            cover[lo:hi] += weights
        return
    units = _units(wire, kind, support, first, last)
    kernels.merge.add_list(
        field.total, cover, field.touched, field.starts, lo, hi, units, values, weights
    )


def narrow(wire, field):
    """Say whether the values of `field` travel as bfloat16."""
    return wire.narrow and field.total.dtype == np.float32


def settle(wire, field, lo, hi):
    """Round the finished coordinates lo..hi-1 to what the others will be told of them."""
    if narrow(wire, field):
        field.total[lo:hi] = widened(narrowed(field.total[lo:hi]))


def support_bytes(units, among):
    """Return the bytes of the shortest support of `units` marked units among so many."""
    return 0 if units == among else min(4 * units, among // 8)


def _support(touched, units):
    """Return the shortest support kind and its stream."""
    if units.size == touched.size:
        return FULL, units[:0]
    if 32 * units.size > touched.size:
        return BITS, np.packbits(touched)
    return LIST, units


def _units(wire, kind, support, first, last):
    """Return the units of a support of the units first..last-1 as uint32[m]."""
    if kind == LIST:
        return support.view(np.uint32)
    if kind == FULL:
        return np.arange(first, last, dtype=np.uint32)
    units = wire.take("units", 4 * (last - first) + 4).view(np.uint32)
    flags = np.unpackbits(support, count=last - first)
    return units[: kernels.merge.list_units(flags, first, units)]


def _coded(wire, weights):
    """Return (kind, table, weights) in as few bytes as the weights allow."""
    table = weights[:0]
    if weights.size == 0:
        return ONE, table, weights
    if (weights == weights[0]).all():
        return ONE, weights[:1], weights[:0]
    bits = weights.view(f"i{weights.itemsize}")
    codes, table = wire.take("codes", weights.size), np.empty(256, bits.dtype)
    used = kernels.merge.classes(bits, table, codes)
    if used:
        return CODED, table[:used].view(weights.dtype), codes
    return EACH, weights[:0], weights


def _ends(sizes):
    """Return where the streams begin, and the end of the last."""
    return list(accumulate((-(-size // 8) * 8 for size in sizes), initial=HEAD))
