"""Who is asked to join a round: one class for each rule, the same for all schedules."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
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
    times : callable
        Returns `seconds`; not called if no selector asks for them.
    known : int64[n] or range, optional
        Given if it is known: the clients that can be asked, ascending, a range if all can be.
    """

    sizes: Integers
    time: float
    times: Callable[[], Reals]
    known: Integers | range | None = None

    @cached_property
    def able(self) -> Integers | range:
        """The clients that can be asked, ascending; looks at all of them if it is not known."""
        return np.flatnonzero(self.sizes) if self.known is None else self.known

    @cached_property
    def seconds(self) -> Reals:
        """float64[K]: what a round of the whole model takes each client, as its device says.

        The same in every round of a run.
        """
        return self.times()

    def ids(self, places: Integers) -> Integers:
        """Return the clients int64[n] at some places int64[n] of `able`."""
        return places if isinstance(self.able, range) else self.able[places]


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

        Changes nothing that `arrays` returns: a round that is stopped is drawn again after a
        resume. In an asynchronous round more clients may be drawn than begin.

        Parameters
        ----------
        round : int
        world : World
        number : int
            How many; fewer are returned only if fewer can be asked.
        in_turn : bool
            False if the order does not matter.
        """

    def begun(self, clients: Integers) -> None:
        """Take the clients int64[n] that began in a finished round, in the order of their turns."""
        return

    def learn(self, rows: AnyArray) -> None:
        """Take the rows of a finished round's clients, the same on every rank (columns.py)."""
        return

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return what a checkpoint must keep, arrays by name."""
        return {}

    def take(self, arrays: Mapping[str, AnyArray]) -> None:
        """Go on from what `arrays` returned."""
        return
