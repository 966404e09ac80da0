"""What methods have in common that leave a part of the model with each client."""

from abc import abstractmethod

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import State
from fedmpi.layout import Support
from fedmpi.plan import Own


class Personal(Algorithm):
    """A method with a `_shared` Support of what is everyone's; clients remember the rest, "own"."""

    remembers = personal = True

    @property
    @abstractmethod
    def _shared(self) -> Support:
        """The Support of what is everyone's."""

    def own(self, state: State, client: int) -> Own | None:
        """The shared part of the global model and the client's own rest; None before it has one."""
        own = self.memory(client).get("own")
        if own is None:
            return None
        weights = state["weights"].copy()
        weights[self._shared.mask() == 0] = own
        return Own(weights)
