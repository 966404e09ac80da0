"""FedRolex as its authors run it: rolling widths with all the parts of HeteroFL's code.

Alam, Liu, Yan and Zhang, "FedRolex: Model-Heterogeneous Federated Learning with Rolling Sub-Model
Extraction", NeurIPS 2022, arXiv:2212.01548, and its published code, which is built on HeteroFL's:
the scaler, the masked loss, static normalisation, clipping and the mean of the last layer's rows
are those of `heterofl-complete`. Clients draw a width in each round (dynamic = false: only once).
The rows roll as in the code, in the direction opposite to the paper and `fedrolex`: in round t a
client holds the rows -t, -t + 1, ... of every layer but the last, modulo its rows. The code
averages uniformly ([clients] weighting = "uniform").
Deviations: those of `heterofl-complete`. The code also has means weighted by width or by how often
a weight was trained, shuffled and overlapping rows, and residual networks; fedmpi does not.
"""

import numpy as np

from fedmpi.algorithms.heterofl_complete import HeteroFLComplete
from fedmpi.arrays import Bools
from fedmpi.layout import Layer


class FedRolexComplete(HeteroFLComplete, name="fedrolex-complete"):
    """Rolling widths with scaler, masked loss and static normalisation."""

    moves = True

    class Keys(HeteroFLComplete.Keys):
        """The [algorithm] keys of complete FedRolex."""

        dynamic: bool = True  # draw widths in each round

    def rows_of(self, layer: Layer, count: int, round: int, client: int) -> Bools:
        """Return bool[rows]: which `count` of a layer's rows a client has in a round."""
        kept = np.zeros(layer.rows, bool)
        kept[(np.arange(count) - round) % layer.rows] = True
        return kept
