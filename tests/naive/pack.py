"""Twins of kernels/pack.py."""


def count(flags):
    kept = sum(flag != 0 for flag in flags)
    runs = sum(flags[i] != 0 and (i == 0 or flags[i - 1] == 0) for i in range(len(flags)))
    return kept, runs


def to_bits(flags, bits):
    bits[:] = 0
    for i in range(len(flags)):
        if flags[i] != 0:
            bits[i // 8] += 1 << (i % 8)


def from_bits(bits, flags):
    for i in range(len(flags)):
        flags[i] = bits[i // 8] >> (i % 8) & 1


def positions(flags, out):
    out[:] = [i for i in range(len(flags)) if flags[i] != 0]


def bit_counts(words, width, out):
    for b in range(len(out)):
        out[b] = sum(int(word).bit_count() for word in words[b * width : (b + 1) * width])


def bit_positions(words, start, out):
    out[:] = [start + 64 * i + j for i in range(len(words)) for j in range(64)
              if int(words[i]) >> j & 1]  # fmt: skip


def set_bits(indices, words):
    bits = {int(i) for i in indices}
    for i in range(len(words)):
        word = sum(1 << j for j in range(64) if 64 * i + j in bits)
        words[i] = int(words[i]) | word


def edges(flags, out):
    padded = [0, *flags, 0]
    out[:] = [i for i in range(len(flags) + 1) if (padded[i] != 0) != (padded[i + 1] != 0)]


def mark(indices, flags):
    flags[:] = 0
    for i in indices:
        flags[i] = 1


def fill(bounds, flags):
    flags[:] = 0
    for start, end in zip(bounds[::2], bounds[1::2]):
        for i in range(start, end):
            flags[i] = 1
