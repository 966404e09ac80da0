"""The messages of a round between the server and its simulated clients."""

from typing import NamedTuple

from fedmpi.comm import codec
from fedmpi.layout import Support


class Letter(NamedTuple):
    """One message that was sent: what it held, and its Sizes in bytes."""

    support: Support
    size: codec.Sizes


class Post:
    """Encodes what a round's clients receive and send; equal downloads are encoded once."""

    def __init__(self, state, layout):
        self._state, self._layout, self._known = state, layout, {}

    def down(self, plan):
        """Return the Letters that bring a client what its plan says, the weights first."""
        wanted = {"weights": plan.down} | plan.more_down
        return [self._letter(name, support) for name, support in wanted.items()]

    def up(self, plan, parts):
        """Send what a client answers: name -> (float32[P], Support).

        Returns (what arrives, by name: the same pairs with 0 outside the support; Letters,
        the weights first). A support that came down to the client is known to the server.
        """
        arrived, letters = {}, []
        for name in sorted(parts, key=lambda name: name != "weights"):
            values, support = parts[name]
            known = support is plan.down
            message = codec.encode(values, support, known=known)
            arrived[name] = codec.decode(message, self._layout, known=support if known else None)
            letters.append(Letter(support, codec.sizes(message)))
        return arrived, letters

    def _letter(self, name, support):
        key = name, support.level, support.keep.tobytes()
        if key not in self._known:
            size = codec.sizes(codec.encode(self._state[name], support))
            self._known[key] = Letter(support, size)
        return self._known[key]
