"""The messages of a round between the server and its simulated clients."""

from typing import NamedTuple

import numpy as np

from fedmpi.comm import codec
from fedmpi.flops import of_plan
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

    Both ends lie in this process, so no bytes travel. Values of a direction have one width, so the
    exact size of a message depends on its support alone, and is taken once for each.
    """

    def __init__(self, value_type="float32"):
        """Let what clients send have values of `value_type`, as in `codec.encode`."""
        self._up_type, self._sent = value_type, {}

    def down(self, plan):
        """Return the Letters that bring a client what its plan says, the weights first."""
        wanted = {"weights": plan.down} | plan.more_down
        return [
            self._letter(support, plan.known and name == "weights", "float32")
            for name, support in wanted.items()
        ]

    def up(self, plan, parts):
        """Send what a client answers: name -> (float32[P], Support).

        Returns (what arrives, by name: the same pairs, rounded to the values' type, with 0
        outside the support; Letters, the weights first). The server knows a support that
        came down to the client.
        """
        arrived, letters = {}, []
        for name in sorted(parts, key=lambda name: name != "weights"):
            values, support = parts[name]
            letters.append(self._letter(support, support is plan.down, self._up_type))
            told = codec.received(values, support, value_type=self._up_type)
            arrived[name] = told, support
        return arrived, letters

    def _letter(self, support, known, value_type):
        key = known, value_type, support.level, support.keep.tobytes()
        if key not in self._sent:
            size = codec.size_of(support, value_type=value_type, known=known)
            each = size.values // max(support.size, 1)
            self._sent[key] = Letter(support, size, support.layer_counts * each)
        return self._sent[key]


def cost_of(experiment, plan, client, post):
    """Return (bytes down, bytes up, FLOPs) of a client's round, as its Plan has it."""
    value_type = experiment.config.network.value_type
    down = sum(letter.size.total for letter in post.down(plan))
    part = experiment.engine.layout_of(plan.submodel)
    work = of_plan(part, plan, int(experiment.work[client])).sum()
    return down, codec.size_of(plan.up, value_type=value_type).total, work
