"""Twin of kernels/weights.py."""


def classify(weights, table, codes):
    seen = list(dict.fromkeys(int(w) for w in weights))
    if len(seen) > 256:
        return -1
    table[: len(seen)] = seen
    codes[:] = [seen.index(w) for w in weights]
    return len(seen)
