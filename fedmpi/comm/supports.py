"""Interim."""
from hashlib import blake2b
from typing import NamedTuple
import numpy as np
from fedmpi.comm import wire
from fedmpi.errors import MessageError
from fedmpi.layout import Support

class Segment(NamedTuple):
    kind: int
    first: int
    stop: int
    kept: int
    stream: np.ndarray

def digest(support):
    h = blake2b(f"{support.level} {support.keep.size} ".encode(), digest_size=16)
    h.update(np.packbits(support.keep != 0))
    return np.frombuffer(h.digest(), np.uint8)

def count(support):
    if support.level == "coordinate":
        return int(np.count_nonzero(support.keep))
    return int(np.diff(support.starts)[support.keep != 0].sum())

def write(support, known):
    keep = support.keep
    tensors = len(support.layout.tensors)
    kept = int(np.count_nonzero(keep))
    if kept == 0:
        return []
    if kept == keep.size:
        return [Segment(wire.DENSE, 0, tensors, kept, np.zeros(0, np.uint8))]
    bits = np.packbits(keep != 0, bitorder="little")
    kind = wire.BITMAP
    if support.level == "row":
        rows = shared_rows(support.layout, keep)
        if rows is not None:
            kind, bits = wire.ROWS, np.packbits(rows != 0, bitorder="little")
    if known and bits.size > 16:
        kind, bits = wire.PACKED, digest(support)
    return [Segment(kind, 0, tensors, kept, bits)]

def unpack(stream, n):
    if stream.size != -(-n // 8):
        raise MessageError("message: bitmap of wrong size")
    bits = np.unpackbits(stream, bitorder="little")
    if bits[n:].any():
        raise MessageError("message: bits after the end of a bitmap")
    return bits[:n]

def read(layout, level, table, stream, known):
    units = len(layout.starts(level)) - 1
    keep = np.zeros(units, np.uint8)
    if len(table) > 1:
        raise MessageError("message: too many segments")
    for entry in table:
        if (entry["first"], entry["stop"]) != (0, len(layout.tensors)):
            raise MessageError("message: segment does not cover the model")
        kind = entry["kind"]
        if kind == wire.DENSE:
            if stream.size:
                raise MessageError("message: dense segment with a support")
            keep[:] = 1
        elif kind == wire.PACKED:
            if known is None or known.level != level or known.keep.size != units or not np.array_equal(stream, digest(known)):
                raise MessageError("message: refers to a support that the receiver does not have")
            keep[:] = known.keep != 0
        elif kind == wire.ROWS and level == "row":
            counts = [l.rows if any(layout.tensors[t].rows == l.rows for t in ts) else 0 for l, ts in zip(layout.layers, layout.layer_tensors)]
            keep[:] = spread_rows(layout, unpack(stream, sum(counts)), counts)
        elif kind == wire.BITMAP:
            keep[:] = unpack(stream, units)
        else:
            raise MessageError("message: kind")
        if np.count_nonzero(keep) != entry["kept"]:
            raise MessageError("message: kept mismatch")
    return Support(layout, level, keep)

def shared_rows(layout, keep):
    parts = []
    units = layout.row_units
    for layer, tensors in zip(layout.layers, layout.layer_tensors):
        chosen = None
        for t in tensors:
            part = keep[units[t]:units[t + 1]]
            if layout.tensors[t].rows != layer.rows:
                if not part.all():
                    return None
            elif chosen is None:
                chosen = part
            elif not np.array_equal(chosen, part):
                return None
        if chosen is not None:
            parts.append(chosen)
    return np.concatenate(parts) if parts else np.zeros(0, np.uint8)

def spread_rows(layout, rows, counts):
    keep = np.ones(layout.row_units[-1], np.uint8)
    at = 0
    for l, (layer, tensors) in enumerate(zip(layout.layers, layout.layer_tensors)):
        part = rows[at:at + counts[l]]
        at += counts[l]
        for t in tensors:
            if layout.tensors[t].rows == layer.rows:
                keep[layout.row_units[t]:layout.row_units[t + 1]] = part
    return keep

def gather(values, support, out, value_type):
    if value_type != "float32":
        raise MessageError("interim: float32 only")
    if support.whole if support.level != "coordinate" else support.keep.all():
        out.view(np.float32)[:] = values
    else:
        np.compress(support.mask() != 0, values, out=out.view(np.float32))

def scatter(stream, support, value_type):
    values = np.zeros(support.layout.size, np.float32)
    values[support.mask() != 0] = stream.view(np.float32)
    return values
