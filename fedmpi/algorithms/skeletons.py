"""Skeletons of FedSkel: the rows of each layer that a client keeps."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from fedmpi.arrays import AnyArray, Bools
from fedmpi.layout import Layout
from fedmpi.sparsity import largest


class Skeletons:
    """The skeletons of a model: adapters are cut, and layers of the given kinds except the last."""

    def __init__(self, layout: Layout, kinds: Sequence[str]) -> None:
        self.layout, self._kinds = layout, kinds

    def is_cut(self, number: int) -> bool:
        """Return whether a layer has a skeleton."""
        kind, last = self.layout.layers[number].kind, len(self.layout.layers) - 1
        return kind == "adapter" or (kind in self._kinds and number < last)

    def of_scores(self, scores: Sequence[AnyArray], ratio: float) -> AnyArray:
        """Return bool[rows of all layers]: in each layer the rows of the highest |scores|."""
        chosen = []
        for number, layer in enumerate(self.layout.layers):
            if not self.is_cut(number):
                chosen.append(np.ones(layer.rows, bool))
                continue
            # 1e-9: (1 - 0.9) * 10 is a little less than 1 in floating point. One row at least.
            dropped = min(int((1.0 - ratio) * layer.rows + 1e-9), layer.rows - 1)
            chosen.append(largest(np.abs(scores[number]), layer.rows - dropped).astype(bool))
        return np.concatenate(chosen)

    def random(self, rng: np.random.Generator) -> list[AnyArray]:
        """Return random scores, for each layer float64[rows], or [0] where none are needed."""
        return [
            rng.random(layer.rows if self.is_cut(number) else 0)
            for number, layer in enumerate(self.layout.layers)
        ]

    @lru_cache(maxsize=64)  # noqa: B019
    def typical(self, ratio: float) -> AnyArray:
        """Return the skeleton bool[.] of the first rows, as large as any skeleton of the ratio."""
        scores = [np.arange(layer.rows, 0, -1.0) for layer in self.layout.layers]
        return self.of_scores(scores, ratio)

    def split(self, skeleton: AnyArray) -> tuple[Bools | None, ...]:
        """Return for each layer bool[rows], or None where all rows are always kept."""
        kept, parts, first = skeleton.astype(bool), [], 0
        for number, layer in enumerate(self.layout.layers):
            rows = kept[first : first + layer.rows]
            parts.append(rows if self.is_cut(number) else None)
            first += layer.rows
        return tuple(parts)
