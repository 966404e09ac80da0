"""Damaged messages for the codec: `python -m tests.comm.fuzz_codec 1000000` for a soak.

Each input is a good message with a few bytes changed, cut, copied or inserted; most get a
checksum that fits again, so that the checks behind it are reached. A decoder may refuse with
MessageError or accept; anything else, an error of another kind or a support that is not of
the model, is a failure.
"""

import sys
from collections import Counter

import numpy as np

from fedmpi.comm import codec, formats, supports, wire
from fedmpi.errors import MessageError
from fedmpi.layout import LEVELS, Layer, Layout, Support, Tensor


def layout_of(shapes):
    """Return a Layout with a weight and a bias for each shape (rows, columns)."""
    tensors, start = [], 0
    for index, (rows, columns) in enumerate(shapes):
        for shape in ((rows, columns), (rows,)):
            tensors.append(Tensor(f"{index}", shape, index, start, rows, True))
            start += tensors[-1].size
    layers = tuple(Layer(str(i), "linear", rows, 0) for i, (rows, _) in enumerate(shapes))
    return Layout(tuple(tensors), layers)


LAYOUT = layout_of([(12, 30), (7, 12), (4, 7)])
FIELDS = ("segments", "size", "nnz", "weight", "weight_kind", "value_type", "level", "scales")


def messages(rng):
    """Return good messages of every level, format, value type and weight kind: uint8[...] each."""
    good, values = [], rng.standard_normal(LAYOUT.size).astype(np.float32)
    for level in LEVELS:
        for density in (0.03, 0.3, 0.97, 1.0):
            units = len(LAYOUT.starts(level)) - 1
            support = Support(LAYOUT, level, (rng.random(units) < density).astype(np.uint8))
            kept = int(support.keep.sum())
            for weights in (None, 5, rng.integers(0, 3, kept), rng.integers(0, 2**50, kept)):
                value_type = rng.choice(wire.VALUE_TYPES)
                integers = value_type in wire.INTEGERS
                scales = rng.random(len(LAYOUT.tensors), np.float32) if integers else None
                how = {"value_type": value_type, "weights": weights, "scales": scales}
                sent = np.ones_like(values) if value_type == "ones" else values
                message = codec.encode(sent, support, **how)
                good.append(np.frombuffer(message, np.uint8))
    kept = [rng.random(layer.rows) < 0.5 for layer in LAYOUT.layers]
    good.append(np.frombuffer(codec.encode(values, Support.of_rows(LAYOUT, kept)), np.uint8))
    support = Support(LAYOUT, "coordinate", (rng.random(LAYOUT.size) < 0.3).astype(np.uint8))
    good.append(np.frombuffer(codec.encode(values, support, known=True), np.uint8))
    return good + [forced(values, support, kind) for kind in range(3, len(wire.KINDS))]


def forced(values, support, kind):
    """Return the message of a support of coordinates in the format `kind`, uint8[...]."""
    written = supports.write
    stream = formats.encode(kind, support.keep)
    segment = supports.Segment(kind, 0, len(LAYOUT.tensors), int(support.keep.sum()), stream)
    try:
        supports.write = lambda *_: [segment]
        return np.frombuffer(codec.encode(values, support), np.uint8)
    finally:
        supports.write = written


def damage(rng, message):
    """Return a changed copy of a message, uint8[...]."""
    data = message.copy()
    header = data[:64].view(wire.HEADER)[0]
    support = 64 + 32 * int(header["segments"])
    end = data.size - wire.read(message)[3].values
    for _ in range(rng.integers(1, 4)):
        start, stop = [(0, 64), (64, support), (support, end), (0, data.size)][rng.integers(0, 4)]
        at = int(rng.integers(start, max(stop, start + 1))) % max(data.size, 1)
        what = rng.random()
        if what < 0.05:
            data = np.insert(data, at, rng.integers(0, 256, 1, np.uint8))
        elif what < 0.1:
            data = np.delete(data, slice(at, at + int(rng.integers(1, 9))))
        elif what < 0.4:
            data[at : at + 1] ^= np.uint8(1 << int(rng.integers(0, 8)))
        elif what < 0.6:
            data[at : at + 1] = rng.choice([0, 1, 127, 128, 255])
        elif what < 0.8:
            data[at : at + 8] = rng.integers(0, 256, data[at : at + 8].size, np.uint8)
        elif data.size >= support:
            nudge(rng, data, support)
    if data.size >= 64 and rng.random() < 0.95:
        wire.seal(data)
    return data


def nudge(rng, data, support):
    """Add a little to one field of the header or of the table, in place."""
    table = data[64:support].view(wire.ENTRY)
    record, fields = data[:64].view(wire.HEADER), FIELDS
    if table.size and rng.random() < 0.6:
        at = rng.integers(table.size)
        record, fields = table[at : at + 1], ("kind", "first", "stop", "kept", "support")
    name = str(rng.choice(fields))
    record[name] += rng.integers(-2, 3).astype(record[name].dtype)


def fuzz(count, seed):
    """Decode `count` damaged messages; return how many were refused and accepted, and why."""
    rng = np.random.default_rng(seed)
    good, outcome = messages(rng), Counter()
    for _ in range(count):
        message = damage(rng, good[rng.integers(len(good))])
        known = Support(LAYOUT, "coordinate", np.ones(LAYOUT.size, np.uint8))
        try:
            values, support = codec.decode(message, LAYOUT, known=known)
            codec.weights(message)
        except MessageError as error:
            outcome["refused"] += 1
            outcome[" ".join(word for word in str(error).split() if word.isalpha())] += 1
            continue
        outcome["accepted"] += 1
        outside = values.view(np.uint32)[support.mask() == 0]
        if support.keep.max(initial=0) > 1 or outside.any() or values.shape != (LAYOUT.size,):
            raise ValueError(f"a damaged message gave nonsense: {bytes(message)!r}")
    return outcome


if __name__ == "__main__":
    for reason, times in fuzz(int(sys.argv[1]), seed=7).most_common():
        sys.stdout.write(f"{times:8d} {reason}\n")
