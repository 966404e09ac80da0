"""Federated dropout: every client trains a narrow model whose rows are drawn in each round.

Caldas, Konecny, McMahan and Talwalkar, "Expanding the Reach of Federated Learning by Reducing
Client Resource Requirements", arXiv:1812.07210: a fixed share of the rows of every layer but the
last, drawn for each client and round. A seed determines the rows, so naming them costs no bytes.
Deviations: a weight becomes the mean over the clients that hold it; running statistics of
normalisation are averaged; the paper's lossy compression is left out (see the stages). No code of
its authors was found; the code of FedRolex draws rows in the same way.
"""

import numpy as np

from fedmpi.algorithms.widths import Widths
from fedmpi.arrays import Bools
from fedmpi.layout import Layer
from fedmpi.section import Shares


class FederatedDropout(Widths, name="federated-dropout"):
    """Random narrow models; widths = [1.0] is FedAvg."""

    moves = apart = True

    class Keys(Widths.Keys):
        """The [algorithm] keys of federated dropout."""

        widths: Shares = (0.75,)  # one of them is drawn for each client

    def rows_of(self, layer: Layer, count: int, round: int, client: int) -> Bools:
        """Return bool[rows]: which `count` of a layer's rows a client has in a round."""
        number = self.layout.layers.index(layer)
        rng = self.rng_for(f"federated-dropout-{number}", round, client)
        kept = np.zeros(layer.rows, bool)
        kept[rng.permutation(layer.rows)[:count]] = True
        return kept
