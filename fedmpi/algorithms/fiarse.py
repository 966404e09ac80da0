"""FIARSE: each client trains the largest weights of the model, as many as its share allows.

Wu, Wang, Wang, Liu, Su and Gao, "FIARSE: Model-Heterogeneous Federated Learning via
Importance-Aware Submodel Extraction", NeurIPS 2024, arXiv:2407.19389: the importance of a weight is
its magnitude in the model received, so a client's part follows the model from round to round; a
weight becomes the mean over the clients that hold it. Shares are drawn once for each client. The
gradient depends on the threshold t of the mask: it is multiplied by 1 + 2 t |w| / (|w| + t)^2. The
published code defines this factor too, but torch never calls it, since the function returns flags,
which have no gradient. gradient = "held" leaves the factor out, as the code does in effect.
Deviations: the mask is constant in a round, where the code drops weights that fall below t. Biases
and normalisation are always held, where the code ranks biases too. A client of share 1 has no
threshold, where the code takes its least weight. Running statistics of normalisation are averaged,
where the code has none. The code weights all clients equally, and averages a weight only over the
clients in which it has changed.
"""

from typing import Literal

import numpy as np

from fedmpi import sparsity
from fedmpi.algorithm import Algorithm
from fedmpi.arrays import Flags, State
from fedmpi.layout import Support
from fedmpi.plan import Own, Plan
from fedmpi.section import Section, Shares
from fedmpi.setting import Setting


class FIARSE(Algorithm, name="fiarse"):
    """Parts of the largest weights; shares = [1.0] is FedAvg."""

    level = "coordinate"
    personal = sends_as_planned = True

    class Keys(Section):
        """The [algorithm] keys of FIARSE."""

        shares: Shares = (1.0, 0.5, 0.25, 0.125, 0.0625)  # drawn with equal chances
        gradient: Literal["importance", "held"] = "importance"  # whether it uses the threshold

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)
        self._inside = sparsity.coordinates(self.layout, self.tensors)

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan of the client's largest weights both ways."""
        mask = self._mask(state, client)
        held = Support(self.layout, "coordinate", mask)
        start = np.where(mask, state["weights"], np.float32(0))
        kept, most = np.abs(state["weights"][self._inside & (mask != 0)]), 0.0
        if self.keys.gradient == "importance" and kept.size and not mask.all():
            most = float(kept.min())
        return Plan(
            down=held, up=held, start=start, mask=mask, update=mask,
            tensors=self.tensors, importance=most,
        )  # fmt: skip

    def own(self, state: State, client: int) -> Own | None:
        """Return the client's part of the global model."""
        mask = self._mask(state, client)
        return None if mask.all() else Own(sparsity.masked(state["weights"], mask))

    def share_of(self, client: int) -> float:
        """Return the share of the weights that a client can hold, drawn once."""
        shares: tuple[float, ...] = self.keys.shares
        return shares[int(self.rng_for("fiarse", 0, client).integers(len(shares)))]

    def _mask(self, state: State, client: int) -> Flags:
        """Return uint8[P]: 1 for the client's largest weights of all layers together."""
        left = 1.0 - self.share_of(client)
        return sparsity.mask_of_largest(self.layout, state["weights"], self.tensors, left)
