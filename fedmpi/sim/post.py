"""The messages of a round between the server and its simulated clients."""

from typing import NamedTuple

import numpy as np

from fedmpi.comm import codec
from fedmpi.layout import Support


class Letter(NamedTuple):
    """One message that was sent: what it held, and its Sizes in bytes.

    `layers` int64[L] are the bytes of the values by layer.
    """

    support: Support
    size: codec.Sizes
    layers: np.ndarray


class Post:
    """Counts what a round's clients receive and send, and hands it on.

    Both ends lie in this process, so no bytes travel. Values have one width, so the exact size
    of a message depends on its support alone, and is taken once for each.
    """

    def __init__(self):
        self._sent = {}

    def down(self, plan):
        """Return the Letters that bring a client what its plan says, the weights first."""
        wanted = {"weights": plan.down} | plan.more_down
        return [
            self._letter(support, plan.known and name == "weights")
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
            letters.append(self._letter(support, support is plan.down))
            arrived[name] = codec.received(values, support), support
        return arrived, letters

    def _letter(self, support, known):
        key = known, support.level, support.keep.tobytes()
        if key not in self._sent:
            size = codec.size_of(support, known=known)
            each = size.values // max(support.size, 1)
            self._sent[key] = Letter(support, size, support.layer_counts * each)
        return self._sent[key]
