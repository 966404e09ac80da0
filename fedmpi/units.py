"""Networks without some of their units, as coordinates of the global vector."""

from collections.abc import Sequence
from math import ceil

import numpy as np

from fedmpi.arrays import AnyArray, Bools, Flags
from fedmpi.errors import ConfigError
from fedmpi.layout import Layout


def inputs_of(layout: Layout) -> list[int]:
    """Return the number of inputs (features, channels or units) that each layer's weight reads."""
    shapes = [layout.tensors[tensors[0]].shape for tensors in layout.layer_tensors]
    return [shape[1] if len(shape) > 1 else 1 for shape in shapes]


def count_of(share: float, rows: int) -> int:
    """Return the number of rows in a share of `rows`, rounded up and at least 1."""
    return max(ceil(share * rows - 1e-9), 1)  # 0.55 * 100 is a little more than 55 in floats


def narrowed(layout: Layout, rows: Sequence[Bools]) -> Flags:
    """Return uint8[P], 1 at the coordinates that remain in a chain of layers without some rows.

    `rows` is bool[rows] for each layer, True for rows that are kept. With a dropped row, the
    weights that read it in the next layer are dropped too, so layers shrink in both directions.
    Adapters only lose components, which no layer reads.

    Raises ConfigError unless the layers form a chain in which each layer reads the layer before it
    by a weight of its own.
    """
    mask = np.zeros(layout.size, np.uint8)
    before: Bools | None = None  # kept rows of the previous layer
    for layer, tensors, keep in zip(layout.layers, layout.layer_tensors, rows, strict=True):
        if layer.kind == "norm":  # it keeps the rows of the previous layer, or all inputs
            keep = np.ones(layer.rows, bool) if before is None else before
        if layer.kind == "embedding" and not keep.all():
            raise ConfigError(
                f"model: the rows of layer {layer.name}, an embedding, are tokens, and none may be "
                "left out; narrow networks need a plain chain, such as lenet5, mlp or vgg11"
            )
        weighs = any(len(layout.tensors[t].shape) > 1 for t in tensors)
        if layer.kind in ("conv", "linear") and not weighs:
            raise ConfigError(
                f"model: the weight of layer {layer.name} is frozen or shared with another layer; "
                "narrow networks need a weight that is trained in each layer"
            )
        for t in tensors:
            tensor = layout.tensors[t]
            inputs = 1 if len(tensor.shape) < 2 else tensor.shape[1]
            weight = inputs > 1 or (len(tensor.shape) > 1 and layer.kind in ("conv", "linear"))
            read = before if weight and layer.kind != "adapter" else None
            fits = read is None or not inputs % len(read)
            if not (fits and tensor.rows == layer.rows == len(keep)):
                raise ConfigError(
                    f"model: layer {layer.name} does not read the layer before it alone; "
                    "narrow networks need a plain chain, such as lenet5, mlp or vgg11"
                )
            columns: Bools = np.ones(inputs, bool)
            if read is not None:
                columns = np.repeat(read, inputs // len(read))
            here = mask[tensor.block]
            cells = here.reshape(tensor.rows, inputs, -1)
            cells[...] = (keep[:, None] & columns)[:, :, None]
        before = None if layer.kind == "adapter" else keep
    return mask


def weighted(layout: Layout) -> Layout:
    """Return the layout if every layer is a convolution or linear, so that it reads and has units.

    Otherwise raises ConfigError that names the layer, such as a separate normalisation.
    """
    for layer in layout.layers:
        if layer.kind not in ("conv", "linear"):
            raise ConfigError(
                f"model: layer {layer.name} is of kind {layer.kind}, and units are removed by "
                "relevance from linear layers and convolutions only, with or without a BatchNorm "
                "behind them; use a model such as mlp, lenet5 or vgg11"
            )
    return layout


class Units:
    """The units of a chain of layers: its inputs, then the rows of all layers except the last.

    Attributes
    ----------
    inputs : int
        The number of units that are inputs.
    layer : int64[U]
        The layer that reads each unit.
    place : int64[U]
        The coordinate of the first weight that reads each unit.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout, self.inputs = layout, inputs_of(layout)[0]
        sizes = [self.inputs, *(layer.rows for layer in layout.layers[:-1])]
        self.layer, self._ends = np.repeat(np.arange(len(sizes)), sizes), np.cumsum(sizes)[:-1]
        weights = [layout.tensors[tensors[0]] for tensors in layout.layer_tensors]
        self.place = np.concatenate([
            weight.start + np.arange(size) * (weight.size // weight.rows // size)
            for weight, size in zip(weights, sizes, strict=True)
        ])  # fmt: skip

    def network(self, kept: AnyArray) -> tuple[tuple[Bools, ...], Flags]:
        """Return (rows, mask) of the network with the units `kept` [U].

        `rows` is bool[rows] for each layer, and `mask` is uint8[P], 1 at kept coordinates.
        """
        inputs, *hidden = np.split(kept.astype(bool), self._ends)
        rows = (*hidden, np.ones(self.layout.layers[-1].rows, bool))
        mask, first = narrowed(self.layout, rows), self.layout.tensors[0]
        cells = mask[first.block].reshape(first.rows, self.inputs, -1)
        cells *= inputs[:, None].astype(np.uint8)
        return rows, mask

    def of_rows(self, rows: Sequence[Bools]) -> Bools:
        """Return bool[U], True for all inputs and for the rows kept in bool[rows] of each layer."""
        return np.concatenate([np.ones(self.inputs, bool), *rows[:-1]])
