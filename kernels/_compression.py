"""Compression and expansion of 16 lanes of 32 bits, by the best way that the processor has.

AVX-512 has an instruction for each. With AVX2 a permutation of 8 lanes does it, whose order is read
from a table. Elsewhere each lane is moved on its own.
"""

import re

from llvmlite import ir

from fedmpi.kernels._llvm import (
    I8,
    I32,
    I64,
    call,
    compress,
    constant,
    flags_from,
    lanes_of,
    load,
    store,
)
from fedmpi.kernels._tile import WIDTH, addition

_LANES = range(8)
SET = [[j for j in _LANES if byte >> j & 1] for byte in range(256)]
# For each byte of flags, the lane that every lane of the result comes from; none for 128.
_COMPRESS = [places + [128] * (8 - len(places)) for places in SET]
_EXPAND = [[sum(place < j for place in places) % 8 for j in _LANES] for places in SET]

_AVX512 = WIDTH == 16
# AVX alone has registers of 8 lanes too, but adds 4 whole numbers at once.
AVX2 = WIDTH == 8 and bool(re.search("vpaddd.*ymm", addition(lanes_of(I32, 8))))


def emit_compress16(
    b: ir.IRBuilder, values: ir.Value, i: ir.Value, word: ir.Value, out: ir.Value, at: ir.Value
) -> ir.Value:
    """Copy values[i + j] for each bit j < 16 of `word` to out[at], ...; return their number."""
    if _AVX512:
        store(b, compress(b, load(b, values, i, I32, 16), flags_from(b, word, 16)), out, at)
        return b.ctpop(b.and_(word, I64(0xFFFF)))
    end = at
    if AVX2:
        for half, byte in enumerate(bytes_of(b, word, 2)):
            given = load(b, values, b.add(i, I64(8 * half)), I32, 8)
            store(b, _compress8(b, given, byte), out, end)
            end = b.add(end, b.ctpop(byte))
        return b.sub(end, at)
    for j in range(16):
        b.store(b.load(b.gep(values, [b.add(i, I64(j))])), b.gep(out, [end]))
        end = b.add(end, b.and_(b.lshr(word, I64(j)), I64(1)))
    return b.sub(end, at)


def emit_expand16(
    b: ir.IRBuilder, packed: ir.Value, at: ir.Value, word: ir.Value, out: ir.Value, i: ir.Value
) -> ir.Value:
    """Set out[i + j] to the next of packed[at], ... where bit j < 16 of `word` is set, else to 0.

    Returns the number of bits that are set. Reads packed[at] to packed[at + 15].
    """
    if _AVX512:
        kind, flags = lanes_of(I32, 16), flags_from(b, word, 16)
        first = b.bitcast(b.gep(packed, [at]), I32.as_pointer())
        zeros = constant(I32, 16, 0)
        name = "llvm.masked.expandload.v16i32"
        store(b, call(b, name, kind, [first, flags, zeros]), out, i)
        return b.ctpop(b.and_(word, I64(0xFFFF)))
    end = at
    if AVX2:
        for half, byte in enumerate(bytes_of(b, word, 2)):
            given = load(b, packed, end, I32, 8)
            store(b, _expand8(b, given, byte), out, b.add(i, I64(8 * half)))
            end = b.add(end, b.ctpop(byte))
        return b.sub(end, at)
    for j in range(16):
        bit = b.and_(b.lshr(word, I64(j)), I64(1))
        value = b.load(b.gep(packed, [end]))
        kept = b.and_(value, b.neg(b.trunc(bit, I32)))
        b.store(kept, b.gep(out, [b.add(i, I64(j))]))
        end = b.add(end, bit)
    return b.sub(end, at)


def compress_bytes8(b: ir.IRBuilder, vector: ir.Value, part: int, byte: ir.Value) -> ir.Value:
    """Return the bytes 8 part + j of `vector` with bit j of `byte`, in front and before zeros.

    The result has 8 bytes. For processors with AVX2.
    """
    lanes = [*range(8 * part, 8 * part + 8)] * 2
    given = b.shuffle_vector(vector, vector, constant(I32, 16, lanes))
    order = _row(b, byte, "fedmpi_compress8", _COMPRESS)
    order = b.shuffle_vector(order, order, constant(I32, 16, [*_LANES] * 2))
    found = call(b, "llvm.x86.ssse3.pshuf.b.128", given.type, [given, order])
    return b.shuffle_vector(found, found, constant(I32, 8, [*_LANES]))


def shuffled16(
    b: ir.IRBuilder, vector: ir.Value, first: int, byte: ir.Value, name: str, table: list[list[int]]
) -> ir.Value:
    """Return the 16 bytes of `vector` from `first` on, in the order that `table` has for `byte`.

    An entry of 128 gives 0. For processors with AVX2.
    """
    given = b.shuffle_vector(vector, vector, constant(I32, 16, list(range(first, first + 16))))
    return call(b, "llvm.x86.ssse3.pshuf.b.128", given.type, [given, _row(b, byte, name, table)])


def bytes_of(b: ir.IRBuilder, word: ir.Value, count: int) -> list[ir.Value]:
    """Return the lowest bytes of a word, each as a word."""
    return [b.and_(b.lshr(word, I64(8 * byte)), I64(0xFF)) for byte in range(count)]


def _compress8(b: ir.IRBuilder, vector: ir.Value, byte: ir.Value) -> ir.Value:
    """Return the lanes of `vector` whose bit of `byte` is set, moved to the front.

    `vector` has 8 lanes of 32 bits; `byte` is a 64-bit word below 256. The other lanes of the
    result hold any values.
    """
    return _permuted(b, vector, byte, "fedmpi_compress8", _COMPRESS)


def _expand8(b: ir.IRBuilder, vector: ir.Value, byte: ir.Value) -> ir.Value:
    """Return the first lanes of `vector` in the lanes whose bit of `byte` is set, 0 in the others.

    The types are those of `_compress8`.
    """
    moved = _permuted(b, vector, byte, "fedmpi_expand8", _EXPAND)
    return b.select(flags_from(b, byte, 8), moved, constant(I32, 8, 0))


def _permuted(
    b: ir.IRBuilder, vector: ir.Value, byte: ir.Value, name: str, table: list[list[int]]
) -> ir.Value:
    """Return the 8 lanes of `vector` in the order that `table` has for `byte`."""
    order = b.zext(_row(b, byte, name, table), lanes_of(I32, 8))
    return call(b, "llvm.x86.avx2.permd", lanes_of(I32, 8), [vector, order])


def _row(b: ir.IRBuilder, byte: ir.Value, name: str, table: list[list[int]]) -> ir.Value:
    """Return a row of bytes of `table`, which is the constant `name` in the compiled module."""
    rows = b.module.globals.get(name)
    if rows is None:
        lanes = len(table[0])
        kind = ir.ArrayType(lanes_of(I8, lanes), len(table))
        rows = ir.GlobalVariable(b.module, kind, name)
        rows.initializer = ir.Constant(kind, [constant(I8, lanes, row) for row in table])
        rows.linkage, rows.global_constant = "internal", True
    return b.load(b.gep(rows, [I32(0), byte]))
