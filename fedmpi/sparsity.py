"""Mathematics of pruning that methods share: prunable weights, their number, and their choice."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import AnyArray, Bools, Flags, Integers, Reals, Vector
from fedmpi.errors import ConfigError
from fedmpi.layout import Layout

STEP = 0.05  # between the values of a grid


def prunable(layout: Layout) -> tuple[int, ...]:
    """Return the tensors that may be pruned: weights of convolutions, linear layers and adapters.

    Biases, normalisation and the 1x1 convolutions of shortcuts are never pruned, as in the code of
    FedDIP. Raises ConfigError if there is no such tensor.
    """
    found = tuple(
        number
        for number, tensor in enumerate(layout.tensors)
        if layout.layers[tensor.layer].kind in ("conv", "linear", "adapter")
        and len(tensor.shape) > 1
        and not layout.layers[tensor.layer].shortcut
    )
    if not found:
        raise ConfigError(
            "model: has no weight that may be pruned, that is a trained weight of a convolution, "
            "linear layer or adapter; take another model, or a method without pruning, such as "
            "fedavg"
        )
    return found


def convolutions(layout: Layout) -> tuple[int, ...]:
    """Return the prunable tensors that are weights of convolutions."""
    kinds = [layout.layers[tensor.layer].kind for tensor in layout.tensors]
    return tuple(t for t in prunable(layout) if kinds[t] == "conv")


def coordinates(layout: Layout, tensors: Iterable[int]) -> Bools:
    """Return bool[P], True inside the given tensors."""
    found = np.zeros(layout.size, bool)
    for t in tensors:
        tensor = layout.tensors[t]
        found[tensor.block] = True
    return found


def largest(values: AnyArray, count: int) -> Flags:
    """Return uint8[n], 1 for exactly `count` of `values` (float[n]), those of largest magnitude.

    Values are compared as float32. Of equal magnitudes, those that come first are taken, so the
    result is the same everywhere.
    """
    flags = np.zeros(len(values), np.uint8)
    kernels.select.top_flags(np.ascontiguousarray(values, np.float32), int(count), flags)
    return flags


def cosine(alpha: float, round: int, last: float) -> float:
    """Return alpha / 2 (1 + cos(pi t / T)), where t is the round and T is `last`; 0 after T.

    This is the share of a mask that is replaced (Dettmers and Zettlemoyer, arXiv:1907.04840; Evci
    et al., "Rigging the Lottery", ICML 2020, arXiv:1911.11134, section 3).
    """
    return float(alpha / 2 * (1 + np.cos(np.pi * min(round, last) / last)))


def largest_of_each(
    layout: Layout, values: AnyArray, counts: Mapping[int, int], held: Flags | None = None
) -> Flags:
    """Return uint8[P], 1 for the counts[t] entries with the largest |values| in each tensor t.

    `counts` is {tensor: number of entries}; all other tensors are 1. Only float32[P] `values` at
    the entries in uint8[P] `held` are ranked, by default all entries. No number may exceed that of
    the ranked entries in its tensor.
    """
    mask = np.ones(layout.size, np.uint8)
    for t, count in counts.items():
        block = layout.tensors[t].block
        here = slice(None) if held is None else np.flatnonzero(held[block])
        mask[block] = 0
        mask[block][here] = largest(values[block][here], count)
    return mask


def masked(values: Vector, mask: Flags) -> Vector:
    """Return float32[P] with `values` where the mask is 1, and zeros of the same sign elsewhere."""
    found: Vector = np.multiply(values, mask)
    return found


def counts_of(layout: Layout, tensors: Iterable[int], mask: Flags) -> dict[int, int]:
    """Return {tensor: number of entries that a mask uint8[P] keeps} for `tensors`."""
    return {t: int(mask[layout.tensors[t].block].sum()) for t in tensors}


def smaller(
    layout: Layout, tensors: Iterable[int], mask: Flags, weights: Vector, rate: float
) -> Flags:
    """Return uint8[P], `mask` without a share `rate` of the kept entries of each tensor.

    The entries with the smallest |weights| float32[P] are removed. Tensors not in `tensors` are 1.
    """
    counts = counts_of(layout, tensors, mask)
    left = {t: count - round(rate * count) for t, count in counts.items()}
    return largest_of_each(layout, weights, left, mask)


def mask_of_largest(
    layout: Layout, values: AnyArray, tensors: Iterable[int], sparsity: float
) -> Flags:
    """Return uint8[P], 0 for a share `sparsity` of the entries of `tensors`, the smallest |values|.

    The entries of all the tensors are ranked together. The number of zeros is exactly
    round(sparsity * entries). Everything outside the tensors is 1.
    """
    inside = coordinates(layout, tensors)
    total = int(inside.sum())
    mask = np.ones(layout.size, np.uint8)
    mask[inside] = largest(values[inside], total - round(sparsity * total))
    return mask


def power(values: Vector, exponent: float) -> Vector:
    """Return sign(v) |v|^exponent for v in float32[n] `values`, float32[n]."""
    raised: Vector = np.abs(values) ** np.float32(exponent)
    return (np.sign(values) * raised).astype(np.float32)


def random_mask(
    layout: Layout, tensors: Iterable[int], densities: Iterable[float], rng: np.random.Generator
) -> Flags:
    """Return uint8[P] in which each tensor keeps round(density * size) entries, drawn at random."""
    mask = np.ones(layout.size, np.uint8)
    for t, density in zip(tensors, densities, strict=True):
        tensor = layout.tensors[t]
        zeros = tensor.size - round(density * tensor.size)
        mask[tensor.start + rng.permutation(tensor.size)[:zeros]] = 0
    return mask


def readjusted(
    layout: Layout,
    tensors: Iterable[int],
    mask: Flags,
    weights: Vector,
    grad: AnyArray,
    share: float,
    reallocate: bool = False,
    agrees: AnyArray | None = None,
    portions: tuple[float, float] = (0, 0),
) -> Flags:
    """Return uint8[P], `mask` with a `share` of the kept entries of each tensor replaced.

    The kept weights of least magnitude are pruned, and the same number of pruned weights with the
    largest gradients are grown (Evci et al., 2020), at most as many as the mask has zeros. With
    `reallocate`, the number to grow is shared out over the tensors by the mean magnitude of the
    kept weights (Dettmers and Zettlemoyer, arXiv:1907.04840, with magnitudes instead of momentum).

    With `agrees` float32[P], a share `portions[0]` of the pruned entries are ones where it is
    negative, and a share `portions[1]` of the grown entries ones where it is positive. If there are
    too few such entries, other entries fill the number.
    """
    new, blocks = mask.copy(), [layout.tensors[t].block for t in tensors]
    kept = [block.start + np.flatnonzero(mask[block]) for block in blocks]
    pruned = [block.start + np.flatnonzero(mask[block] == 0) for block in blocks]
    room = np.array([len(there) for there in pruned])
    going = np.minimum([round(share * len(alive)) for alive in kept], room)
    coming = going
    if reallocate:
        sizes = [
            np.abs(weights[alive], dtype=np.float64).mean() if len(alive) else 0.0
            for alive in kept
        ]
        coming = shared_out(going.sum(), np.array(sizes), room)
    opposed, along = (None, None) if agrees is None else (agrees < 0, agrees > 0)
    for alive, there, fewer, more in zip(kept, pruned, going, coming, strict=True):
        for group, count in _portioned(alive, fewer, opposed, portions[0]):
            new[group] = largest(weights[group], len(group) - count)
        for group, count in _portioned(there, more, along, portions[1]):
            new[group] = largest(grad[group], count)
    return new


def _portioned(
    places: Integers, count: int, first: Bools | None, portion: float
) -> list[tuple[Integers, int]]:
    """Split `places` into those in bool[P] `first` and the others; return [(group, number), ...].

    The groups are int64[.], and the numbers add up to `count`. The first group gets the share
    `portion`, and more if the other group is too small.
    """
    if first is None:
        return [(places, count)]
    inside, others = places[first[places]], places[~first[places]]
    number = max(min(round(portion * count), len(inside)), count - len(others))
    return [(inside, number), (others, count - number)]


def shared_out(total: int, portions: Reals, room: Integers) -> Integers:
    """Return int64[n], `total` divided in proportion to float64[n] `portions`.

    No number exceeds int64[n] `room`. An amount that does not fit is divided over the other places
    in the same way. After rounding down, the rest goes to the largest fractions, and of equal
    fractions to the first. All of `total` is divided if there is room for it.
    """
    exact, full = np.zeros(len(room)), np.zeros(len(room), bool)
    while not full.all():
        left, open_ = max(total - room[full].sum(), 0), np.where(full, 0.0, portions)
        open_ = open_ if open_.any() else (~full).astype(np.float64)
        exact = np.where(full, room, left * open_ / open_.sum())
        over = ~full & (exact >= room)
        if not over.any():
            break
        full |= over
    shared = np.minimum(np.where(full, room, np.floor(exact)), room).astype(np.int64)
    order = np.argsort(shared - exact, kind="stable")
    order = order[(shared < room)[order]][: max(int(total - shared.sum()), 0)]
    shared[order] += 1
    return shared


def erk(shapes: Sequence[tuple[int, ...]], density: float, power: float = 1.0) -> Reals:
    """Return the density of each weight array under Erdos-Renyi-Kernel, float64[n].

    An array of shape (n_1, n_2, ...) gets a density in proportion to
    (sum of n_i / product of n_i) ** power (Evci et al., "Rigging the Lottery", ICML 2020,
    arXiv:1911.11134).
    """
    sizes = np.array([np.prod(shape, dtype=np.float64) for shape in shapes])
    portions = (np.array([sum(shape) for shape in shapes]) / sizes) ** power
    return in_proportion(portions, sizes, density)


def in_proportion(portions: Reals, sizes: AnyArray, density: float) -> Reals:
    """Return densities in proportion to `portions` for arrays of `sizes`, float64[n] each.

    Arrays whose density would exceed 1 are made dense, and the other densities are scaled again, so
    that all arrays together have the given `density`.
    """
    dense = np.zeros(len(sizes), bool)
    while not dense.all():
        scale = (density * sizes.sum() - sizes[dense].sum()) / (portions * sizes)[~dense].sum()
        over = ~dense & (scale * portions > 1.0)
        if not over.any():
            return np.where(dense, 1.0, np.maximum(scale * portions, 0.0))
        dense |= over
    return np.ones(len(sizes))


def random_by_erk(
    layout: Layout, tensors: Sequence[int], density: float, power: float, rng: np.random.Generator
) -> Flags:
    """Return uint8[P], a `random_mask` of `tensors` at ERK's densities."""
    densities = erk([layout.tensors[t].shape for t in tensors], density, power)
    return random_mask(layout, tensors, densities, rng)


def largest_by_erk(
    layout: Layout, values: AnyArray, tensors: Sequence[int], density: float, power: float
) -> Flags:
    """Return uint8[P], 1 for the largest |values| float32[P] of each tensor, at ERK's densities."""
    densities = erk([layout.tensors[t].shape for t in tensors], density, power)
    sizes = [layout.tensors[t].size for t in tensors]
    counts = {t: round(d * n) for t, d, n in zip(tensors, densities, sizes, strict=True)}
    return largest_of_each(layout, values, counts)


def cubic(round: int, rounds: int, start: float, end: float) -> float:
    """Return the sparsity of a round, which goes from `start` to `end`, quickly at first.

    It is end + (start - end) (1 - round / rounds)^3 (Zhu and Gupta, arXiv:1710.01878).
    """
    return end + (start - end) * (1.0 - round / rounds) ** 3


def grid(least: float, most: float) -> tuple[float, ...]:
    """Return the ascending values `most`, `most` - STEP, ... that are at least `least`."""
    count = int((most - least) / STEP + 1e-9)
    return tuple(most - STEP * k for k in range(count, -1, -1))
