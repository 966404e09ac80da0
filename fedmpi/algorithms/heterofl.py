"""HeteroFL: each client trains a model of its own width, nested in the global one.

Diao, Ding and Tarokh, "HeteroFL: Computation and Communication Efficient Federated Learning
for Heterogeneous Clients", ICLR 2021, arXiv:2010.01264: a client of width s holds the first
s * C rows of every layer but the last, and in these rows the inputs that held rows produce. A
weight becomes the mean over the clients that hold it. Widths are drawn once for each client, or
follow [devices] policy.
Deviations: no scaling layer, no static batch normalisation (running statistics are averaged)
and no masked loss. Without them the published code does not learn at the narrow widths;
`heterofl-complete` has all three.
"""

from fedmpi.algorithms.widths import Widths
from fedmpi.arrays import State
from fedmpi.plan import Own


class HeteroFL(Widths, name="heterofl"):
    """Nested widths; widths = [1.0] is FedAvg."""

    personal = True

    def own(self, state: State, client: int) -> Own | None:
        """Return the client's part of the global model."""
        _, submodel = self._submodels[self.width_of(client)]
        return None if submodel is None else Own(state["weights"], submodel)
