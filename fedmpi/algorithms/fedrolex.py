"""FedRolex: narrow models whose rows shift by one each round, so that all rows are trained.

Alam, Liu, Yan and Zhang, "FedRolex: Model-Heterogeneous Federated Learning with Rolling Sub-Model
Extraction", NeurIPS 2022, arXiv:2212.01548: in round t a client of width s holds the rows t,
t + 1, ..., t + s * C - 1 of every layer but the last, counted modulo C, and in these rows the
inputs that held rows produce. A weight becomes the mean over the clients that hold it.
Deviations: no scaling layer, no static batch normalisation (running statistics are averaged), no
masked loss and no clipping. The published code takes these from HeteroFL's code, and its clients
draw a width in each round; `fedrolex-complete` has all of this. Row counts are rounded up, as in
the code.
"""

import numpy as np

from fedmpi.algorithms.widths import Widths
from fedmpi.arrays import Bools
from fedmpi.layout import Layer


class FedRolex(Widths, name="fedrolex"):
    """Rolling widths; widths = [1.0] is FedAvg."""

    moves = True

    def rows_of(self, layer: Layer, count: int, round: int, client: int) -> Bools:
        """Return bool[rows]: which `count` of a layer's rows a client has in a round."""
        kept = np.zeros(layer.rows, bool)
        kept[(round + np.arange(count)) % layer.rows] = True
        return kept
