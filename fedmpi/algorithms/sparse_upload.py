"""What methods have in common that choose after training what they send."""

from fedmpi.algorithm import Algorithm
from fedmpi.layout import Support
from fedmpi.plan import Plan


class SparseUpload(Algorithm):
    """Everything comes down, and clients train all of it; `message` chooses what goes up."""

    level = "coordinate"

    def plan(self, state, round, client):
        """Everything down; what goes up is known after training."""
        everything = Support.all(self.layout)
        return Plan(down=everything, up=everything)

    @classmethod
    def sends_as_planned(cls, keys):
        """No: a part goes up."""
        return False
