"""What methods have in common that leave a part of the model with each client."""

from fedmpi.algorithm import Algorithm
from fedmpi.plan import Own


class Personal(Algorithm):
    """A method with a `_shared` Support of what is everyone's; clients remember the rest, "own"."""

    remembers = personal = True

    def own(self, state, client):
        """The shared part of the global model and the client's own rest; None before it has one."""
        own = self.memory(client).get("own")
        if own is None:
            return None
        weights = state["weights"].copy()
        weights[self._shared.mask() == 0] = own
        return Own(weights)
