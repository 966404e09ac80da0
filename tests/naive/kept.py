"""Twins of kernels/kept.py: the twins of conv.py, of which only kept terms are used."""

import numpy as np

from tests.naive import conv


def mix_table(mask, out, weight, bias, channel_weight, channel_src, tap_weight, tap_src, runs):
    ranges = list(dict.fromkeys((t0, t1) for *_, t0, t1 in runs.tolist()))
    lists = [
        [
            (weight[o] + channel_weight[j] + tap_weight[t], channel_src[j] + tap_src[t])
            for j in range(len(channel_src))
            for t in range(t0, t1)
            if mask[weight[o] + channel_weight[j] + tap_weight[t]]
        ]
        for o in range(len(out))
        for t0, t1 in ranges
    ]
    starts = 6 + 2 * len(out) + 4 * len(runs)
    head = [len(out), len(runs), len(ranges), 6 + len(out), 6 + 2 * len(out), starts]
    head += [*out, *bias]
    for place, at, size, t0, t1 in runs.tolist():
        head += [place, at, size, ranges.index((t0, t1))]
    sizes = [2 * len(terms) for terms in lists]
    head += np.cumsum([starts + len(lists) + 1, *sizes]).tolist()
    return np.array(head + [number for terms in lists for term in terms for number in term])


def correlate_table(mask, left, row_out, right, col_out, runs, parts):
    head, columns = [], []
    first = 3 + 6 * len(parts) * len(left) + runs.size
    for b, (k0, k1, m0, m1) in enumerate(parts.tolist()):
        for o in range(len(left)):
            kept = [k for k in range(k0, k1) if col_out[k] >= 0 and mask[row_out[o] + col_out[k]]]
            spare = -len(kept) % 4
            here = first + len(columns)
            columns += [right[k] for k in kept] + [right[kept[0]] if kept else 0] * spare
            columns += [row_out[o] + col_out[k] for k in kept] + [-1] * spare
            head += [left[o], m0, m1, here, here + len(kept) + spare, k0 not in parts[:b, 0]]
    counts = [len(parts) * len(left), 3, 3 + len(head)]
    return np.array([*counts, *head, *runs.reshape(-1), *columns])


def mix(out, src, weights, mask, parts, start, floor, gate):
    # A place may be a bias too, and biases are always kept.
    kept = np.concatenate([weights * (mask != 0), weights]).astype(np.float32)
    row_out, row_weight, bias, *rest = parts
    conv.mix(out, src, kept, (row_out, row_weight, bias + weights.size, *rest), start, floor, gate)


def correlate(out, left, right, mask, parts):
    whole = np.zeros_like(out)
    conv.correlate(whole, left, right, parts)
    out[mask != 0] = whole[mask != 0]
