"""The messages of a round between the server and its simulated clients, and their bytes.

Sender and receiver are in one process, so no message is sent. The values that arrive and the bytes
of a message are computed, with the same results as `encode` and `decode` would give.
"""

from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.comm import codec
from fedmpi.exchange import Part, Parts
from fedmpi.layout import Support
from fedmpi.plan import Plan

KEPT = 1000  # most sizes that are cached, since random supports may all be different
NOTHING = codec.Sizes(*(0,) * len(fields(codec.Sizes)))


class PartSize(NamedTuple):
    """The size of one part of a message, as encoded.

    Attributes
    ----------
    bytes : Sizes
        Bytes in total, and of header, support, values and so on.
    layers : int64[L]
        Bytes of the values, by layer.
    """

    bytes: codec.Sizes
    layers: Integers


class Messages:
    """Compute the messages that clients receive and send: their sizes and arriving values.

    The size of a message depends only on its support and value type. Up to KEPT sizes are cached
    by the digest of the support. Supports themselves are not kept, so memory grows neither with
    the model nor with the rounds.

    Parameters
    ----------
    value_type : str
        Type of the values that clients send, as in `codec.encode`; the server sends float32.
    more_down : int
        Additional bytes that every client receives.
    """

    def __init__(self, value_type: str = "float32", more_down: int = 0) -> None:
        self._up_type, self._more_down = value_type, more_down
        self._sizes: dict[tuple[object, ...], PartSize] = {}

    def down(self, plan: Plan) -> list[PartSize]:
        """Return the sizes of the parts that a client receives by its plan, the weights first."""
        weights = self.sized(plan.down, "float32", known=plan.known)
        found = [weights, *(self.sized(more, "float32") for more in plan.more_down.values())]
        found += [self.sized(bits, "ones") for bits in plan.bits_down.values()]
        if self._more_down:
            size = replace(NOTHING, total=self._more_down, header=self._more_down)
            found.append(PartSize(size, np.zeros_like(weights.layers)))
        return found

    def up(
        self, plan: Plan, parts: Parts
    ) -> tuple[dict[str, Part], list[PartSize], Support]:
        """Send the parts of a client's answer; return (arriving parts, sizes, support).

        The parts are in order, "weights" first. Their values are rounded to the value type, and 0
        outside the support; each part has its bytes. The support is that of everything sent. The
        server already knows a support equal to that of the weights that it sent, or to `plan.up` if
        the Plan says `known_up`.
        """
        arrived, sizes = {}, []
        for name in sorted(parts, key=lambda name: name != "weights"):
            values, support, _, coding = parts[name]
            known = support == plan.down or (plan.known_up and support == plan.up)
            if coding is not None and coding.value_type == "stream":
                size = self._streamed(support, coding.bytes, known)
                received = codec.received(values, support)
            else:
                value_type, scales = (self._up_type, None) if coding is None else coding[:2]
                size = self.sized(support, value_type, known)
                received = codec.received(values, support, value_type=value_type, scales=scales)
            arrived[name] = Part(received, support, size.bytes.total)
            sizes.append(size)
        return arrived, sizes, _union([part.support for part in arrived.values()])

    def _streamed(self, support: Support, size: int, known: bool) -> PartSize:
        """Return the PartSize on `support` if its values take `size` bytes."""
        sizes = self.sized(support, "float32", known).bytes
        total = sizes.total - sizes.values + size
        return PartSize(replace(sizes, total=total, values=size), _by_layer(support, size))

    def planned_up(self, plan: Plan) -> PartSize:
        """Return the PartSize of the weights that a client will send by its plan."""
        return self.sized(plan.up, self._up_type, plan.known_up or plan.up == plan.down)

    def sized(self, support: Support, value_type: str, known: bool = False) -> PartSize:
        """Return the PartSize of values on `support`; `known` if the receiver has the support."""
        key = support.level, support.digest, value_type, known
        if key not in self._sizes:
            if len(self._sizes) >= KEPT:
                self._sizes.clear()
            size = codec.size_of(support, value_type=value_type, known=known)
            self._sizes[key] = PartSize(size, _by_layer(support, size.values))
        return self._sizes[key]


def _by_layer(support: Support, values: int) -> Integers:
    """Return the bytes of a message's values, shared out over the layers, int64[L]."""
    counts, size = np.cumsum(support.layer_counts).tolist(), max(support.size, 1)
    # As Python's integers: the products overflow 64 bits from 1.5e9 coordinates on.
    ends = np.array([0, *(count * values // size for count in counts)], np.int64)
    return ends[1:] - ends[:-1]


def _union(supports: list[Support]) -> Support:
    """Return the union of the supports."""
    first, *others = supports
    if all(other == first for other in others):
        return first
    whole = [support for support in supports if support.whole]
    if whole:
        return whole[0]
    held = np.logical_or.reduce([support.mask() for support in supports])
    return Support(first.layout, "coordinate", held.astype(np.uint8))
