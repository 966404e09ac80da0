"""The base of methods whose clients keep their own mask between rounds."""

from functools import cached_property

import numpy as np

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm
from fedmpi.arrays import Bools, Flags, State
from fedmpi.plan import Own
from fedmpi.section import Section
from fedmpi.setting import Setting


class PersonalMask(Algorithm):
    """A method whose clients remember "mask", a bit for each weight; it starts with all bits set.

    Attributes
    ----------
    tensors : tuple of int
        The tensors that masks prune.
    """

    level = "coordinate"
    remembers = personal = sends_as_planned = True

    def __init__(self, keys: Section, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)

    @cached_property
    def _inside(self) -> Bools:
        """bool[P]: the coordinates that masks prune."""
        return sparsity.coordinates(self.layout, self.tensors)

    def mask_of(self, client: int) -> Flags:
        """Return uint8[P]: the client's mask."""
        memory = self.memory(client)
        if "mask" not in memory:
            return self.first_mask(client)
        return np.unpackbits(memory["mask"], count=self.layout.size)

    def first_mask(self, client: int) -> Flags:
        """Return uint8[P]: the mask of a client before its first round."""
        return np.ones(self.layout.size, np.uint8)

    def own(self, state: State, client: int) -> Own | None:
        """Return the global weights under the client's mask."""
        mask = self.mask_of(client)
        return None if mask.all() else Own(sparsity.masked(state["weights"], mask))
