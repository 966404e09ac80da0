"""Twins of kernels/lists.py: the same bytes, one position at a time."""


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
