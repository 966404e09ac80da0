"""The base of methods whose clients choose after training which weights to send."""

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import State
from fedmpi.layout import Support
from fedmpi.plan import Plan


class SparseUpload(Algorithm):
    """Clients receive and train the whole model; `message` chooses the weights that go up."""

    level = "coordinate"

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan of the whole model; its upload is an upper bound."""
        everything = Support.all(self.layout)
        return Plan(down=everything, up=everything)

