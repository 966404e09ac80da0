"""Formats of a support: n flags, of which m are set, as bytes, and back.

    dense    nothing                        all units are set
    packed   16 bytes                       hash of a support that the receiver has
    rows     (C + 7) // 8 bytes             bitmap of rows, shared by the tensors of a layer
    runs     varints of the edges of runs   start, end, start, end, ...
    bitmap   (n + 7) // 8 bytes
    idx16    4 bytes for 65536 units, 2 m   lower halves of positions
    idx32    4 m bytes                      positions
    varint   varints of the gaps            LEB128 of each position minus the previous one, minus 1

The choice compares exact sizes, so the smallest format always wins.
"""

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Flags, Octets
from fedmpi.comm import wire
from fedmpi.errors import MessageError

NOTHING = np.zeros(0, np.uint8)
_WORDS = 2**32  # positions that 4 bytes can tell apart


def smallest(flags: Flags) -> tuple[int, int, Octets]:
    """Return (kind, units set, stream) of the smallest format for uint8[n] `flags`."""
    kept, runs = kernels.pack.count(flags)
    if kept == flags.size:
        return wire.DENSE, kept, NOTHING
    bitmap = (flags.size + 7) // 8
    kinds = [wire.BITMAP]
    if flags.size < _WORDS:
        # A varint takes at least one byte, so formats that must lose to the bitmap are skipped.
        # idx16 never wins: a gap whose varint takes a third byte fills a quarter of a block of
        # 65536, and each block costs 4 bytes for its count. Nor does idx32: only gaps of 2**28
        # and more take over 4 bytes.
        kinds += [wire.RUNS] if 2 * runs < bitmap else []
        kinds += [wire.VARINT] if kept < bitmap else []
    streams = [(kind, kept, encode(kind, flags)) for kind in kinds]
    return min(streams, key=lambda coded: coded[2].size)


def encode(kind: int, flags: Flags) -> Octets:
    """Return the support uint8[n] `flags` in the format `kind`, as uint8[...]."""
    pack, lists = kernels.pack, kernels.lists
    kept, runs = pack.count(flags)
    if kind == wire.DENSE:
        return NOTHING
    if kind == wire.BITMAP:
        stream = np.empty((flags.size + 7) // 8, np.uint8)
        pack.to_bits(flags, stream)
        return stream
    if kind == wire.RUNS:
        edges = np.empty(2 * runs, np.uint32)
        pack.edges(flags, edges)
        return _varints(edges)
    positions = np.empty(kept, np.uint32)
    pack.positions(flags, positions)
    if kind == wire.IDX32:
        return positions.view(np.uint8)
    if kind == wire.IDX16:
        stream = np.empty(2 * _blocks(flags.size) + kept, np.uint16)
        lists.encode_idx16(positions, flags.size, stream)
        return stream.view(np.uint8)
    return _varints(positions)


def decode(kind: int, stream: Octets, kept: int, flags: Flags) -> None:
    """Write the support in uint8[...] `stream`, `kept` units in format `kind`, into `flags`.

    `flags` is uint8[n], changed in place. Raises MessageError if the stream is invalid.
    """
    sizes = {
        wire.DENSE: 0,
        wire.BITMAP: (flags.size + 7) // 8,
        wire.IDX16: 4 * _blocks(flags.size) + 2 * kept,
        wire.IDX32: 4 * kept,
    }
    if kept > flags.size or stream.size != sizes.get(kind, stream.size):
        raise MessageError(
            f"message: {stream.size} bytes as {wire.KINDS[kind]} for {kept} of {flags.size} units"
        )
    try:
        _decode(kind, stream, kept, flags)
    except ValueError as error:
        raise MessageError(f"message: {wire.KINDS[kind]} support: {error}") from None


def _decode(kind: int, stream: Octets, kept: int, flags: Flags) -> None:
    """Do the work of `decode` after its check of the sizes. Raises ValueError."""
    pack, lists = kernels.pack, kernels.lists
    if kind == wire.DENSE:
        flags[:] = 1
    elif kind == wire.BITMAP:
        pack.from_bits(stream, flags)
    elif kind == wire.RUNS:
        edges = np.empty(lists.varint_count(stream), np.uint32)
        if edges.size % 2 or edges.size > 2 * kept:
            raise ValueError("edges that make no runs")
        lists.decode_varint(stream, flags.size + 1, edges)
        pack.fill(edges, flags)
    else:
        positions = np.empty(kept, np.uint32)
        if kind == wire.IDX32:
            positions[:] = stream.view(np.uint32)
            lists.check(positions, flags.size)
        elif kind == wire.IDX16:
            lists.decode_idx16(stream.view(np.uint16), flags.size, positions)
        else:
            lists.decode_varint(stream, flags.size, positions)
        pack.mark(positions, flags)


def _blocks(size: int) -> int:
    return int(-(-size // kernels.lists.BLOCK))


def _varints(positions: AnyArray) -> Octets:
    """Return the gaps between uint32[m] `positions` as varints, uint8[...]."""
    stream = np.empty(kernels.lists.varint_size(positions), np.uint8)
    kernels.lists.encode_varint(positions, stream)
    return stream
