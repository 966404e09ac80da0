"""What a client is asked to do in a round, and what it answers."""

from dataclasses import dataclass, field

import numpy as np

from fedmpi.layout import Support


@dataclass(frozen=True, eq=False)
class Backward:
    """Which part of the gradient is computed.

    `rows`: for each layer None (all) or bool[rows]; the gradient that arrives at the
    output of a dropped row is taken as zero, so the row vanishes from the weight
    gradient and from the gradient of everything below (FedSkel, Luo et al. 2021).
    `lowest`: index of the lowest trained layer; nothing below it is differentiated.
    """

    rows: tuple | None = None
    lowest: int = 0


FULL = Backward()


@dataclass(frozen=True, eq=False)
class Plan:
    """What one client receives, trains and sends.

    `down` and `up` are the supports of the two messages; `backward` says what is
    differentiated; `proximal` is FedProx's mu, the pull towards the received weights.
    """

    down: Support
    up: Support
    backward: Backward = FULL
    proximal: float = 0.0


@dataclass(eq=False)
class Report:
    """What one client answers: its weights after training, float32[P], and how it went.

    `share` is the client's weight in the round; the shares of a cohort add up to one.
    """

    client: int
    samples: int  # in the client's data
    seen: int  # trained on, a sample once for each time
    steps: int
    share: float
    loss: float  # mean over the steps
    weights: np.ndarray
    statistics: dict = field(default_factory=dict)
