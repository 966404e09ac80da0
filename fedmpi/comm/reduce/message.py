"""A range of a Field as bytes and back: what ranks of one run send each other.

Eight int64 (bytes in all, lo, hi, units, values, support kind, weight kind, entries of
the weight table) and four streams that begin at multiples of 8: support, weight table,
weights, values. Ranks of one run share byte order and version, so nothing more is
said; what simulated clients send has its own format with version and checksum.
"""

from itertools import accumulate, pairwise

import numpy as np

from fedmpi import kernels

LIST, BITS, FULL = range(3)  # support: indices, one bit per unit of the range, all units
NONE, ONE, CODED, EACH = range(4)  # weights: none, one for all, one byte into a table, plain
HEAD = 64


def encode(wire, field, lo, hi, narrow=False):
    """Return the touched part of the coordinates lo..hi-1 as uint8[size].

    The bytes lie in a workspace of `wire`, valid until the next call. With `narrow`
    float32 values travel as bfloat16, rounded to nearest even. Weights go along only
    if every coordinate is a unit; else they are few and are summed apart.
    """
    m, k = field.count(lo, hi)
    cover = field.cover if field.flat else field.cover[:0]
    units = wire.take("units", 4 * m).view(np.uint32)
    values = wire.take("values", k * field.total.itemsize).view(field.total.dtype)
    weights = wire.take("weights", m * cover.itemsize * (cover.size > 0)).view(cover.dtype)
    kernels.merge.emit(
        field.total, cover, field.touched, field.starts, lo, hi, units, values, weights
    )
    kind, support = _support(field, lo, hi, units)
    weighing, table, weights = _weights(wire, weights, m, cover.size)
    values = to_bfloat16(values) if narrow else values
    streams = (support, table, weights, values)
    ends = list(accumulate((-(-s.nbytes // 8) * 8 for s in streams), initial=HEAD))
    out = wire.take("encoded", ends[-1])
    out[:HEAD].view(np.int64)[:] = ends[-1], lo, hi, m, k, kind, weighing, table.size
    for stream, at in zip(streams, ends, strict=False):
        out[at : at + stream.nbytes] = stream.view(np.uint8)
    return out


def add(wire, field, message, narrow=False):
    """Add an encoded range to `field`, in place."""
    _, lo, hi, m, k, kind, weighing, entries = (int(x) for x in message[:HEAD].view(np.int64))
    first, last = field.span(lo, hi)
    cover = field.cover if field.flat else field.cover[:0]
    value = np.dtype(np.uint16) if narrow else field.total.dtype
    lengths = (
        {LIST: 4 * m, BITS: -(-(last - first) // 8), FULL: 0}[kind],
        entries * cover.itemsize,
        {NONE: 0, ONE: 0, CODED: m, EACH: m * cover.itemsize}[weighing],
        k * value.itemsize,
    )
    ends = accumulate((-(-length // 8) * 8 for length in lengths), initial=HEAD)
    streams = [message[a : a + length] for a, length in zip(ends, lengths, strict=False)]
    support, table, weights, values = streams
    values = from_bfloat16(values.view(value)) if narrow else values.view(value)
    table, weights = table.view(cover.dtype), weights if weighing == CODED else weights.view(cover.dtype)
    weights = {NONE: table, ONE: table, EACH: weights}.get(weighing) if weighing != CODED else table[weights]
    if kind == FULL and field.flat:
        field.total[lo:hi] += values
        field.touched[lo:hi] = 1
        if cover.size:
            cover[lo:hi] += weights
        return
    units = _units(wire, kind, support, first, last, m)
    kernels.merge.add_list(
        field.total, cover, field.touched, field.starts, lo, hi, units, values, weights
    )
