"""FedAvg that takes its time while a file is absent, so that a test can be sure to meet it."""

import time
from pathlib import Path

from fedmpi.algorithm import Keys
from fedmpi.algorithms.fedavg import FedAvg

FREE_ROUNDS = 40
PACE_S = 0.2


class Paced(FedAvg, name="paced"):
    """FedAvg whose later rounds last `pace` seconds and more, until the file `go` exists."""

    class Keys(Keys):
        """The [algorithm] keys."""

        go: str
        pace: float = PACE_S

    def step(self, state, sums, round):
        """Take FedAvg's step, perhaps later."""
        if round >= FREE_ROUNDS and not Path(self.keys.go).exists():
            time.sleep(self.keys.pace)
        return super().step(state, sums, round)
