"""Selection of the clients that join a round: one class for each rule, for all schedules."""

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
    """All that a selector may know when it selects.

    Attributes
    ----------
    sizes : int64[K]
        Number of samples of each client; 0 for a client that cannot be selected now.
    time : float
        Virtual time in seconds.
    times : callable
        Returns `seconds`; called only if a selector needs them.
    known : int64[n] or range, optional
        The clients that can be selected, ascending, or a range if all can be; None if unknown.
    """

    sizes: Integers
    time: float
    times: Callable[[], Reals]
    known: Integers | range | None = None

    @cached_property
    def able(self) -> Integers | range:
        """The clients that can be selected, ascending, found from `sizes` if not `known`."""
        return np.flatnonzero(self.sizes) if self.known is None else self.known

    @cached_property
    def seconds(self) -> Reals:
        """float64[K]: seconds of a round of the whole model on each client's device.

        They are the same in every round of a run.
        """
        return self.times()

    def ids(self, places: Integers) -> Integers:
        """Return the clients int64[n] at the indices `places` int64[n] of `able`."""
        return places if isinstance(self.able, range) else self.able[places]


class Selector(ABC):
    """A rule that selects the clients of a round.

    It must give the same result on every rank. It may therefore use only `rng_for`, its arguments,
    and the rows passed to `learn` and `begun`.

    Attributes
    ----------
    learns : bool
        True if the rule needs the clients' rows, with their losses. Only then `learn` is called,
        and only without it does noise at the server bound epsilon.
    """

    Keys: ClassVar[type[Section]] = Section
    name: ClassVar[str] = ""
    learns: bool = False

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        SELECTORS.admit(cls, name)

    def __init__(self, keys: Any, seed: int, clients: int) -> None:
        self.keys, self.seed, self.clients = keys, seed, clients

    def rng_for(self, round: int) -> np.random.Generator:
        """Return the random stream for this run's selection in a round."""
        return rng_for(self.seed, "cohort", round)

    @abstractmethod
    def select(self, round: int, world: World, number: int, in_turn: bool) -> Integers:
        """Return the ids int64[n] of the selected clients, in the order of their turns.

        This must not change anything that `arrays` returns, since a round that was stopped is
        drawn again after a resume. In an asynchronous round, more clients may be selected than
        begin.

        Parameters
        ----------
        round : int
        world : World
        number : int
            Number of clients to select; fewer are returned only if fewer can be selected.
        in_turn : bool
            False if the order does not matter.
        """

    def begun(self, clients: Integers) -> None:
        """Note the clients int64[n] that began in a finished round, in the order of their turns."""
        return

    def learn(self, rows: AnyArray) -> None:
        """Learn from the client rows of a finished round (columns.py), the same on every rank.

        `train_loss` is NaN for clients whose report did not come: late, unavailable or dropped.
        """
        return

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return the arrays that a checkpoint must store, by name."""
        return {}

    def restore(self, arrays: Mapping[str, AnyArray]) -> None:
        """Restore the selector from the result of `arrays`."""
        return
