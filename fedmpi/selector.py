"""Who is asked to join a round: one class for each rule, the same for all schedules."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedmpi.arrays import AnyArray, Integers, Reals
from fedmpi.registry import Registry
from fedmpi.rng import rng_for
from fedmpi.section import Section

SELECTORS = Registry("selection", "clients.selection", "a subclass of fedmpi.Selector")


@dataclass(frozen=True, eq=False)
class World:
    """What a selector may know when it selects.

    Attributes
    ----------
    sizes : int64[K]
        Samples of each client; 0 for a client that cannot be asked now.
    time : float
        Virtual seconds.
    seconds : float64[K]
        What a round of the whole model takes each client, as its device's profile says.
    """

    sizes: Integers
    time: float
    seconds: Reals


class Selector(ABC):
    """A rule of selection.

    It runs alike on every rank: it may use `rng_for`, what it is given, and what `learn` has
    told it, and nothing else.
    """

    Keys: ClassVar[type[Section]] = Section
    name: ClassVar[str] = ""

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        SELECTORS.admit(cls, name)

    def __init__(self, keys: Any, seed: int, clients: int) -> None:
        self.keys, self.seed, self.clients = keys, seed, clients

    def rng_for(self, round: int) -> np.random.Generator:
        """Return the random stream of this run's selection in a round."""
        return rng_for(self.seed, "cohort", round)

    @abstractmethod
    def select(self, round: int, world: World, number: int, in_turn: bool) -> Integers:
        """Return the ids int64[n] of the clients to ask, in the order of their turns.

        Parameters
        ----------
        round : int
        world : World
        number : int
            How many; fewer are returned only if fewer can be asked.
        in_turn : bool
            False if the order does not matter.
        """

    def learn(self, rows: AnyArray) -> None:
        """Take the rows of a finished round's clients, the same on every rank (columns.py)."""
        return

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return what a checkpoint must keep, arrays by name."""
        return {}

    def take(self, arrays: Mapping[str, AnyArray]) -> None:
        """Go on from what `arrays` returned."""
        return
