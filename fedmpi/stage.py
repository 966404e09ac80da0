"""What a stage is: a change to every client's message, or to the sums, that any method can have.

Stages see changes, never weights: the values of "weights" less what the client's training
started from at the server, whatever the method sends. They run in the order of [[stage]].
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
    """What a stage may know of the run: the model, the seed, and its place among the stages."""

    layout: Layout
    seed: int
    number: int


class Stage:
    """A step between a client's message and the sums, or between the sums and the server's step.

    Attributes
    ----------
    sparse : bool
        Whether it leaves out coordinates of a message; these then count as unchanged.
    scales : bool
        Whether it scales values or adds noise to them, so that bits would not stay bits.
    resizes : bool
        Whether the bytes of a message depend on it.
    last : bool
        Whether no stage may come after it.
    together : bool
        Whether the clients of a round must be at work at the same time.
    """

    Keys: ClassVar[type[Section]] = Section
    name: ClassVar[str] = ""
    sparse: bool = False
    scales: bool = False
    resizes: bool = False
    last: bool = False
    together: bool = False

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        STAGES.admit(cls, name)

    def __init__(self, keys: Any, setting: StageSetting) -> None:
        self.keys, self.setting, self.layout = keys, setting, setting.layout

    @property
    def noise(self) -> Noise | None:
        """The noise that hides a client, None if it adds none."""
        return None

    @property
    def more_down(self) -> int:
        """Bytes that every client receives on top of what its plan says."""
        return 0

    def norm_after(self, before: float) -> float:
        """Return the largest L2 norm of a change after this stage, if it was `before`.

        Infinite if not known: what a stage kept from earlier rounds may come on top.
        """
        return float("inf")

    def rng_for(self, round: int, client: int = 0) -> np.random.Generator:
        """Return this stage's random stream of a round and a client."""
        return rng_for(self.setting.seed, f"stage-{self.setting.number}", round, client)

    def client(self, job: Job, parts: Parts, memory: Memory) -> tuple[Parts, Memory]:
        """Return a client's parts as they go on, and what the stage keeps with the client.

        Runs on the client. `memory` is what it kept last, {} before the client's first round.
        """
        return parts, memory

    def check(self, sums: Sums) -> None:
        """Raise ConfigError, with the reason, if a method's empty `sums` do not allow the stage."""
        return

    def seal(self, sums: Sums, round: int, client: int, cohort: Integers) -> None:
        """Change the sums of a rank, to which a client of the `cohort` int64[n] was just added."""
        return

    def unseal(self, sums: Sums, round: int, cohort: Integers, completed: Integers) -> None:
        """Undo what `seal` did, in the sums over all clients; alike on every rank.

        `completed` int64[.] are the ids of the clients that are in the sums.
        """
        return

    def server(self, sums: Sums, round: int, shares: Reals) -> None:
        """Change the sums over all clients, whose shares are float64[n]; alike on every rank."""
        return


def applied(
    stages: Sequence[Stage],
    base: Vector | None,
    job: Job,
    parts: Parts,
    memory: Memory,
) -> tuple[Parts, dict[str, Any]]:
    """Return a message after all stages, as changes, and what they keep with the client.

    `base` is what "weights" are changes of, None if they are changes already. `memory` and
    the result hold the arrays of stage n as "stage/n/...".
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
    """Return what the method itself keeps with a client, of all that is kept there."""
    return {name: array for name, array in memory.items() if not name.startswith("stage/")}


def restored(parts: Parts, base: Vector | None) -> Parts:
    """Return decoded parts with "weights" as weights again, where stages made changes of them."""
    if base is None or "weights" not in parts:
        return parts
    part = parts["weights"]
    return {**parts, "weights": part._replace(values=within(part.values + base, part.support))}


def within(values: Vector, support: Any) -> Vector:
    """Return float32[P]: `values` on a Support and 0 elsewhere."""
    return values if support.whole else np.where(support.mask(), values, np.float32(0))
