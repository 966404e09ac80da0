"""The messages of a round between the server and its simulated clients, and their bytes.

Both ends are in one process, so no message travels: what arrives is computed as `decode` of
`encode` would give it, and its size as that of the encoded message.
"""

from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np

from fedmpi.arrays import Integers
from fedmpi.comm import codec
from fedmpi.exchange import Part, Parts
from fedmpi.layout import Support
from fedmpi.plan import Plan

KEPT = 1000  # sizes that are remembered: of random supports each may be the only one of its kind
NOTHING = codec.Sizes(*(0,) * len(fields(codec.Sizes)))


class Message(NamedTuple):
    """The size of one encoded part.

    Attributes
    ----------
    size : Sizes
        Bytes, by what they are used for.
    layers : int64[L]
        Bytes of the values, by layer.
    """

    size: codec.Sizes
    layers: Integers


class Messages:
    """Encodes what clients receive and send, as far as that shows.

    The size of a message depends on its support alone. Up to KEPT sizes are kept by the value of
    the support, and supports are not kept, so that memory grows neither with the model nor with
    the rounds.

    Parameters
    ----------
    value_type : str
        Of the values that clients send, as in `codec.encode`; the server sends float32.
    more_down : int
        Bytes that every client receives besides.
    """

    def __init__(self, value_type: str = "float32", more_down: int = 0) -> None:
        self._up_type, self._more_down = value_type, more_down
        self._sizes: dict[tuple[object, ...], Message] = {}

    def down(self, plan: Plan) -> list[Message]:
        """Return the messages that bring a client what its plan says, the weights first."""
        weights = self.sized(plan.down, "float32", known=plan.known)
        found = [weights, *(self.sized(more, "float32") for more in plan.more_down.values())]
        found += [self.sized(bits, "ones") for bits in plan.bits_down.values()]
        if self._more_down:
            size = replace(NOTHING, total=self._more_down, header=self._more_down)
            found.append(Message(size, np.zeros_like(weights.layers)))
        return found

    def up(
        self, plan: Plan, parts: Parts
    ) -> tuple[dict[str, Part], list[Message], Support]:
        """Send what a client answers.

        Returns the parts as they arrive, "weights" first: rounded to the values' type, 0 outside
        the support, with their bytes; the messages; and the support of everything sent. The
        server knows a support that equals that of the weights it sent.
        """
        arrived, messages = {}, []
        for name in sorted(parts, key=lambda name: name != "weights"):
            values, support, _, coding = parts[name]
            known = support == plan.down
            if coding is not None and coding.value_type == "stream":
                message = self._streamed(support, coding.bytes, known)
                received = codec.received(values, support)
            else:
                value_type, scales = (self._up_type, None) if coding is None else coding[:2]
                message = self.sized(support, value_type, known)
                received = codec.received(values, support, value_type=value_type, scales=scales)
            arrived[name] = Part(received, support, message.size.total)
            messages.append(message)
        return arrived, messages, _union([part.support for part in arrived.values()])

    def _streamed(self, support: Support, size: int, known: bool) -> Message:
        """Return the Message of values that take `size` bytes, whatever the support."""
        sizes = self.sized(support, "float32", known).size
        total = sizes.total - sizes.values + size
        return Message(replace(sizes, total=total, values=size), _by_layer(support, size))

    def planned_up(self, plan: Plan) -> Message:
        """Return the message of the weights that a client will send, by its plan."""
        return self.sized(plan.up, self._up_type, known=plan.up == plan.down)

    def sized(self, support: Support, value_type: str, known: bool = False) -> Message:
        """Return the Message of values on `support`; `known` if the receiver has the support."""
        key = support.level, support.digest, value_type, known
        if key not in self._sizes:
            if len(self._sizes) >= KEPT:
                self._sizes.clear()
            size = codec.size_of(support, value_type=value_type, known=known)
            self._sizes[key] = Message(size, _by_layer(support, size.values))
        return self._sizes[key]


def _by_layer(support: Support, values: int) -> Integers:
    """Return int64[L]: the bytes of the values of a message, shared out over the layers."""
    counts = np.concatenate(([0], np.cumsum(support.layer_counts)))
    shared: Integers = np.diff(counts * values // max(support.size, 1))
    return shared


def _union(supports: list[Support]) -> Support:
    """Return what any of the supports holds."""
    first, *others = supports
    if all(other == first for other in others):
        return first
    whole = [support for support in supports if support.whole]
    if whole:
        return whole[0]
    held = np.logical_or.reduce([support.mask() for support in supports])
    return Support(first.layout, "coordinate", held.astype(np.uint8))
