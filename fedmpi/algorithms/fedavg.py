"""FedAvg: every client trains the whole model, and the server takes the mean.

McMahan, Moore, Ramage, Hampson and Aguera y Arcas, "Communication-Efficient Learning of
Deep Networks from Decentralized Data", AISTATS 2017, arXiv:1602.05629, algorithm 1.
Deviations: none. The mean is weighted as [clients] weighting says, by samples as in the
paper or uniformly.
"""

from functools import cached_property

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import State
from fedmpi.layout import Support
from fedmpi.plan import Plan


class FedAvg(Algorithm, name="fedavg"):
    """Federated averaging."""

    sends_as_planned = True

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan that sends the whole model both ways."""
        return self._plan

    @cached_property
    def _plan(self) -> Plan:
        everything = Support.all(self.layout)
        return Plan(down=everything, up=everything)
