"""The base class of stages, which change every client's message or the sums, for any method.

Stages see changes, never weights. Whatever the method sends, they see the values of "weights" minus
the server's values from which the client's training started. They run in the order of [[stage]].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedmpi import returned
from fedmpi.arrays import Integers, Memory, Reals, Vector
from fedmpi.exchange import Job, Part, Parts
from fedmpi.layout import Layout
from fedmpi.privacy import Noise
from fedmpi.registry import Registry
from fedmpi.rng import rng_for
from fedmpi.section import Section
from fedmpi.totals import Sums

STAGES = Registry("stage", "stage.name", "a subclass of fedmpi.Stage")


@dataclass(frozen=True)
class StageSetting:
    """The facts about a run that a stage may use: layout, seed, and its number among the stages."""

    layout: Layout
    seed: int
    number: int


class Stage:
    """A step between a client's message and the sums, or between the sums and the server's step.

    Attributes
    ----------
    sparse : bool
        True if the stage leaves out coordinates of a message, which then count as unchanged.
    scales : bool
        True if the stage scales values or adds noise to them, so that bits would not stay bits.
    resizes : bool
        True if the stage may change the number of bytes of a message.
    last : bool
        True if no other stage may follow.
    synchronous : bool
        True if the clients of a round must be at work at the same time.
    """

    Keys: ClassVar[type[Section]] = Section
    name: ClassVar[str] = ""
    sparse: bool = False
    scales: bool = False
    resizes: bool = False
    last: bool = False
    synchronous: bool = False

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        STAGES.admit(cls, name)

    def __init__(self, keys: Any, setting: StageSetting) -> None:
        self.keys, self.setting, self.layout = keys, setting, setting.layout

    @property
    def noise(self) -> Noise | None:
        """The noise that the stage adds to protect clients, or None."""
        return None

    @property
    def more_down(self) -> int:
        """Bytes that every client receives in addition to those of its plan."""
        return 0

    def norm_after(self, before: float) -> float:
        """Return the largest L2 norm of a change after this stage, given the largest one `before`.

        It is infinite if unknown, for example if the stage adds values kept from earlier rounds.
        """
        return float("inf")

    def rng_for(self, round: int, client: int = 0) -> np.random.Generator:
        """Return this stage's random stream for a round and a client."""
        return rng_for(self.setting.seed, f"stage-{self.setting.number}", round, client)

    def client(self, job: Job, parts: Parts, memory: Memory) -> tuple[Parts, Memory]:
        """Return (the client's parts after this stage, the stage's next memory for the client).

        This runs on the client. `memory` is the stage's last memory for the client, {} before the
        client's first round.
        """
        return parts, memory

    def check(self, sums: Sums) -> None:
        """Raise ConfigError, with the reason, if the stage cannot work with a method's `sums`.

        The `sums` are empty.
        """
        return

    def seal(self, sums: Sums, round: int, client: int, cohort: Integers) -> None:
        """Change a rank's sums in place, just after a `client` of `cohort` int64[n] was added."""
        return

    def unseal(self, sums: Sums, round: int, cohort: Integers, completed: Integers) -> None:
        """Undo the changes of `seal`, in place, in the sums over all clients; alike on every rank.

        `completed` int64[.] are the ids of the clients that are in the sums.
        """
        return

    def server(self, sums: Sums, round: int, shares: Reals) -> None:
        """Change the sums over all clients in place; alike on every rank.

        `shares` are the clients' shares, float64[n].
        """
        return


def applied(
    stages: Sequence[Stage],
    base: Vector | None,
    job: Job,
    parts: Parts,
    memory: Memory,
) -> tuple[Parts, dict[str, Any]]:
    """Return (a message after all stages, as changes; the stages' next memory for the client).

    `base` holds the values from which "weights" started, or is None if "weights" are changes
    already. In `memory` and in the result, arrays of stage n are named "stage/n/...".
    """
    if base is not None and "weights" in parts:
        values, support, *_ = parts["weights"]
        parts = {**parts, "weights": Part(within(values - base, support), support)}
    kept: dict[str, Any] = {}
    for stage in stages:
        prefix = f"stage/{stage.setting.number}/"
        had = {n.removeprefix(prefix): a for n, a in memory.items() if n.startswith(prefix)}
        found = stage.client(job, parts, had)
        returned.staged(found, stage.layout, stage)
        parts, keeps = found
        kept |= {prefix + name: array for name, array in keeps.items()}
    return parts, kept


def without_stages(memory: Memory) -> Memory:
    """Return the method's own part of a client's memory, without the arrays of stages."""
    return {name: array for name, array in memory.items() if not name.startswith("stage/")}


def restored(parts: Parts, base: Vector | None) -> Parts:
    """Return decoded parts with "weights" as weights again, if the stages had them as changes."""
    if base is None or "weights" not in parts:
        return parts
    part = parts["weights"]
    return {**parts, "weights": part._replace(values=within(part.values + base, part.support))}


def within(values: Vector, support: Any) -> Vector:
    """Return float32[P] with `values` on a Support and 0 elsewhere."""
    return values if support.whole else np.where(support.mask(), values, np.float32(0))
