"""The server's optimiser, which turns the clients' mean into the next global weights.

Reddi, Charles, Zaheer, Garrett, Rush, Konecny, Kumar and McMahan, "Adaptive Federated
Optimization", ICLR 2021, arXiv:2003.00295, algorithm 2. The step that the mean proposes is taken as
a gradient, d = w_t - mean, and passed to SGD with momentum, Adam, Yogi or Adagrad. As in the paper,
there is no bias correction.

Running statistics, which have no gradient, and weights that the method has pruned keep the proposed
values, and have no moments.

Deviation: v starts at 0. The paper requires at least epsilon squared (tau squared in its notation).
"""

from typing import TypeAlias

import numpy as np

from fedmpi.algorithm import Algorithm
from fedmpi.arrays import Bools, State, Vector
from fedmpi.config import ServerSection

Move: TypeAlias = tuple[Vector, Vector, Vector]
"""The next m, the next v and the move, float32[P] each."""


class ServerOptimizer:
    """Turn the step that an algorithm proposes into the step that is taken.

    The moments are kept in the state as "server_m" and "server_v", float32[P], and are checkpointed
    with it. With optimizer = "average" the proposed step is taken unchanged.
    """

    def __init__(self, keys: ServerSection, algorithm: Algorithm) -> None:
        self.keys, self._algorithm = keys, algorithm

    def step(self, before: State, after: State) -> State:
        """Return the next state, given the state `before` and the proposed state `after`.

        Each optimiser is a method "_name" that takes (change, m, v), float32[P] each. It returns
        the next m, the next v, and the move, which is multiplied by the learning rate.
        """
        if self.keys.optimizer == "average":
            return after
        old, zeros = before["weights"], np.zeros_like(before["weights"])
        change = after["weights"] - old
        m, v = before.get("server_m", zeros), before.get("server_v", zeros)
        m, v, move = getattr(self, f"_{self.keys.optimizer}")(change, m, v)
        weights = (old + np.float32(self.keys.lr) * move).astype(np.float32)
        if (still := self._still(after)) is not None:
            weights = np.where(still, after["weights"], weights)
            m, v = (np.where(still, np.float32(0), moment) for moment in (m, v))
        return {**after, "weights": weights, "server_m": m, "server_v": v}

    def _still(self, after: State) -> Bools | None:
        """Return bool[P], True for coordinates that keep the proposed values; None if none does."""
        still, kept = ~self._algorithm.layout.trained, self._algorithm.kept(after)
        if kept is not None:
            still |= np.asarray(kept) == 0
        return still if still.any() else None

    def _sgd(self, change: Vector, m: Vector, v: Vector) -> Move:
        m = np.float32(self.keys.momentum) * m + change
        return m, v, m

    def _adam(self, change: Vector, m: Vector, v: Vector) -> Move:
        b1, b2 = np.asarray(self.keys.betas, np.float32)
        m = b1 * m + (1 - b1) * change
        v = b2 * v + (1 - b2) * change**2
        return m, v, self._scaled(m, v)

    def _yogi(self, change: Vector, m: Vector, v: Vector) -> Move:
        b1, b2 = np.asarray(self.keys.betas, np.float32)
        m = b1 * m + (1 - b1) * change
        v = v - (1 - b2) * change**2 * np.sign(v - change**2)
        return m, v, self._scaled(m, v)

    def _adagrad(self, change: Vector, m: Vector, v: Vector) -> Move:
        b1 = np.float32(self.keys.betas[0])
        m = b1 * m + (1 - b1) * change
        v = v + change**2
        return m, v, self._scaled(m, v)

    def _scaled(self, m: Vector, v: Vector) -> Vector:
        return np.divide(m, np.sqrt(v) + np.float32(self.keys.epsilon), dtype=np.float32)
