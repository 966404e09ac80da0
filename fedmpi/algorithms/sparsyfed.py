"""SparsyFed: weights are powers of the trained parameters, so that small weights stay small.

Guastella, Sani, Iacob, Mora, Bellavista and Lane, "SparsyFed: Sparse Adaptive Federated Training",
ICLR 2025, arXiv:2504.05153, written from a copy of its code (train_test.py, the modules without
pruned activations). The weights are w = sign(v) |v|^beta of parameters v (Schwarz et al.,
"Powerpropagation", NeurIPS 2021, arXiv:2110.00296), so that the gradient of v shrinks with |v| and
parameters at 0 stay there. Messages hold v: after training a client keeps and sends the largest
parameters of all layers together. The server takes the mean, in which missing parameters count as
0, so a parameter that any client kept comes back. With beta = 1 the method is top-k of the weights.

As in the code, the first v are the roots of the first weights. Deviation: activations are not
pruned.
"""

import numpy as np
from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithms.sparse_upload import SparseUpload
from fedmpi.arrays import State, Vector
from fedmpi.exchange import Job, Part, Report
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.section import Section
from fedmpi.setting import Setting
from fedmpi.totals import Sums


class SparsyFed(SparseUpload, name="sparsyfed"):
    """Powers of parameters, pruned after training; sparsity = 0 and beta = 1 is FedAvg."""

    fill = "zero"
    base = "parameters"
    prunes = shows_support = True
    remedy = "lower optimizer.lr or algorithm.beta"

    class Keys(Section):
        """The [algorithm] keys of SparsyFed."""

        sparsity: float = Field(0.95, ge=0, lt=1)  # share of the weights that are not sent
        beta: float = Field(1.25, ge=1, allow_inf_nan=False)  # power of the parameters; 1: none

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)
        self._inside = sparsity.coordinates(self.layout, self.tensors)

    def start(self, weights: Vector) -> State:
        """Return the parameters of the first weights."""
        return self._state({}, self._power(weights, 1 / self.keys.beta))

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: nonzero parameters down; parameters at 0 stay there if beta > 1."""
        mask = state["mask"] if self.keys.beta > 1 and not state["mask"].all() else None
        return Plan(
            down=Support(self.layout, "coordinate", state["mask"]),
            up=Support.all(self.layout),
            start=state["parameters"],
            mask=mask,
            update=mask,
            tensors=self.tensors,
            power=self.keys.beta,
        )

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the largest parameters."""
        mask = sparsity.mask_of_largest(
            self.layout, report.weights, self.tensors, self.keys.sparsity
        )
        return {"weights": Part(report.weights, Support(self.layout, "coordinate", mask))}

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average the parameters; a parameter that no client kept becomes 0, even with noise."""
        if not sums["weights"].all:
            return state
        kept = ~self._inside | (sums["weights"].touched != 0)
        return self._state(state, sums["weights"].mean(state["parameters"]) * kept)

    def _state(self, state: State, parameters: Vector) -> State:
        """Return the state of float32[P] `parameters`."""
        mask = np.where(self._inside, parameters != 0, True).astype(np.uint8)
        weights = self._power(parameters, self.keys.beta)
        return {**state, "weights": weights, "parameters": parameters, "mask": mask}

    def _power(self, values: Vector, exponent: float) -> Vector:
        """Return float32[P]: `values` to a power where weights may be pruned."""
        if exponent == 1:
            return values
        return np.where(self._inside, sparsity.power(values, exponent), values)
