"""What methods have in common that choose after training what they send."""

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import State
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import Section


class SparseUpload(Algorithm):
    """Everything comes down, and clients train all of it; `message` chooses what goes up."""

    level = "coordinate"

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Everything down; what goes up is known after training."""
        everything = Support.all(self.layout)
        return Plan(down=everything, up=everything)

    @classmethod
    def sends_as_planned(cls, keys: Section) -> bool:
        """No: a part goes up."""
        return False
