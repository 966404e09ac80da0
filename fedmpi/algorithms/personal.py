"""The base of methods that leave a part of the model with each client."""

from abc import abstractmethod

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import State
from fedmpi.layout import Support
from fedmpi.plan import Own


class Personal(Algorithm):
    """A method that shares the Support `_shared`; clients remember the other weights as "own"."""

    remembers = personal = sends_as_planned = True

    @property
    @abstractmethod
    def _shared(self) -> Support:
        """The Support of the weights that all clients share."""

    def own(self, state: State, client: int) -> Own | None:
        """Return the shared global weights with the client's own; None before its first round."""
        own = self.memory(client).get("own")
        if own is None:
            return None
        weights = state["weights"].copy()
        weights[self._shared.mask() == 0] = own
        return Own(weights)
