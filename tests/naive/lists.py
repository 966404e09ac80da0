"""Twins of kernels/lists.py: the same bytes, one position at a time."""

from itertools import pairwise


def varints(indices):
    coded, before = [], -1
    for i in map(int, indices):
        gap = i - before - 1
        while gap > 127:
            coded.append(gap % 128 + 128)
            gap //= 128
        coded.append(gap)
        before = i
    return coded


def varint_size(indices):
    return len(varints(indices))


def encode_varint(indices, stream):
    stream[:] = varints(indices)


def varint_count(stream):
    return sum(byte < 128 for byte in stream)


def encode_idx16(indices, stop, stream):
    counts = [0] * -(-stop // 65536)
    for i in indices:
        counts[i // 65536] += 1
    heads = [half for number in counts for half in (number % 65536, number // 65536)]
    stream[:] = heads + [i % 65536 for i in indices]


def check(indices, stop):
    for before, here in pairwise(indices):
        if here <= before:
            raise ValueError("positions that do not ascend")
    if len(indices) and indices[-1] >= stop:
        raise ValueError("positions after the end")


def decode_varint(stream, stop, indices):
    found, position, gap, place = [], -1, 0, 1
    for byte in map(int, stream):
        gap += byte % 128 * place
        place *= 128
        if byte < 128:
            position += gap + 1
            found.append(position)
            gap, place = 0, 1
    indices[:] = found
    check(indices, stop)


def is_damaged(stream, stop, count):
    """Whether a stream is not `count` varints, each as short as it can be, of positions < stop."""
    codes, code, last = [], [], -1
    for byte in map(int, stream):
        code.append(byte)
        if byte < 128:
            codes.append(code)
            last += 1 + sum(byte % 128 * 128**k for k, byte in enumerate(code))
            code = []
    long = any(len(code) > 5 or (len(code) > 1 and code[-1] == 0) for code in codes)
    return long or len(code) > 0 or len(codes) != count or last >= stop


def decode_idx16(stream, stop, indices):
    blocks = -(-stop // 65536)
    counts = [int(stream[2 * b]) + 65536 * int(stream[2 * b + 1]) for b in range(blocks)]
    bases = [65536 * b for b, count in enumerate(counts) for _ in range(count)]
    halves = map(int, stream[2 * blocks :])
    indices[:] = [base + half for base, half in zip(bases, halves, strict=True)]
    check(indices, stop)
