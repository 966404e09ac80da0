"""The arithmetic of the ends of runs, number by number."""


def store(tile, count, array, places, i, at):
    rows, cols, size = tile.shape
    for r in range(rows):
        for k in range(min(count, cols * size)):
            array[places[i + r] + at + k] = tile[r, k // size, k % size]


def inner(tile, size, left, places, i, at, right, columns, j, start):
    out = tile.copy()
    rest, shift = size % 16, 0 if size < 16 else 16 - size % 16
    for r in range(tile.shape[0]):
        for c in range(tile.shape[1]):
            for n in range(rest):
                p = size - rest + n
                a, b = left[places[i + r] + at + p], right[columns[j + c] + start + p]
                out[r, c, shift + n] += a * b
    return out
