"""FedProx: FedAvg with a term that pulls every client towards the weights it received.

Li, Sahu, Zaheer, Sanjabi, Talwalkar and Smith, "Federated Optimization in Heterogeneous
Networks", MLSys 2020, arXiv:1812.06127, algorithm 2: the client minimises
F(w) + mu/2 |w - w_t|^2. Deviation: every client does the same number of local epochs;
the paper's partial work of slow clients is left to the schedule.
"""


from fedmpi.algorithm import Algorithm
from fedmpi.arrays import State
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import NotNegative, Section


class FedProx(Algorithm, name="fedprox"):
    """Federated averaging with a proximal term; mu = 0 is FedAvg."""

    sends_as_planned = True
    remedy = "lower optimizer.lr or algorithm.mu"

    class Keys(Section):
        """The [algorithm] keys of FedProx."""

        mu: NotNegative = 0.01  # weight of the proximal term; the paper tries 0.001 to 1

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the whole model both ways, and the proximal term."""
        everything = Support.all(self.layout)
        return Plan(down=everything, up=everything, proximal=self.keys.mu)
