"""The messages of a round between the server and its simulated clients."""

from typing import NamedTuple

from fedmpi.comm import codec
from fedmpi.layout import Support


class Letter(NamedTuple):
    """One message that was sent: what it held, and its Sizes in bytes."""

    support: Support
    size: codec.Sizes


class Post:
    """Counts what a round's clients receive and send, and hands it on.

    Both ends lie in this process, so bytes need not travel. A message is encoded for its exact
    size once for each support: values have one width, so its size does not depend on them.
    """

    def __init__(self, state):
        self._state, self._sent = state, {}

    def down(self, plan):
        """Return the Letters that bring a client what its plan says, the weights first."""
        wanted = {"weights": plan.down} | plan.more_down
        return [
            self._letter(self._state[name], support, plan.known and name == "weights")
            for name, support in wanted.items()
        ]

    def up(self, plan, parts):
        """Send what a client answers: name -> (float32[P], Support).

        Returns (what arrives, by name: the same pairs with 0 outside the support; Letters,
        the weights first). A support that came down to the client is known to the server.
        """
        arrived, letters = {}, []
        for name in sorted(parts, key=lambda name: name != "weights"):
            values, support = parts[name]
            letters.append(self._letter(values, support, support is plan.down))
            arrived[name] = codec.received(values, support), support
        return arrived, letters

    def _letter(self, values, support, known):
        key = known, support.level, support.keep.tobytes()
        if key not in self._sent:
            size = codec.sizes(codec.encode(values, support, known=known))
            self._sent[key] = Letter(support, size)
        return self._sent[key]
