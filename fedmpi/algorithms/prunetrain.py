"""PruneTrain: a group penalty shrinks channels, and channels near zero are removed for good.

Lym, Choukse, Zangeneh, Wen, Sanghavi and Erez, "PruneTrain: Fast Neural Network Training by
Dynamic Sparse Model Reconfiguration", SC 2019, arXiv:1901.09290, inside federated averaging, a
baseline of FedDIP. Clients minimise CE + penalty * sum |w_row| over the rows (channels, units)
of all layers but the last. Every `every` rounds the server removes the rows that have no weight
of magnitude above `threshold`, and the weights that read them. The network that travels and is
trained gets smaller; in the global vector the weights of removed rows are 0.

Deviations: a group is the weights that produce a channel, without the weights that read it; penalty
and threshold are plain numbers, where the paper derives the penalty from the loss; the paper's code
removes a channel only if the weights that read it are small too; the paper's growing batch is left
out. The list of rows left (a bit each) is not counted in bytes, and each layer keeps at least one
row. The method works on chains of layers. The code that FedDIP compares with under this name is
another method: a penalty on layers, and pruning of single weights by magnitude.
"""

import numpy as np
from pydantic import Field

from fedmpi.algorithm import Algorithm, Narrowing
from fedmpi.arrays import Flags, State, Vector
from fedmpi.layout import Support
from fedmpi.plan import Plan, Submodel
from fedmpi.section import NotNegative, Section
from fedmpi.setting import Setting
from fedmpi.sparsity import prunable
from fedmpi.totals import Sums
from fedmpi.units import Units


class PruneTrain(Algorithm, name="prunetrain"):
    """Removal of channels; penalty = threshold = 0 is FedAvg."""

    level = "coordinate"
    fill = "zero"  # rows that are removed
    prunes = sends_as_planned = True
    remedy = "lower optimizer.lr or algorithm.penalty"

    class Keys(Section):
        """The [algorithm] keys of PruneTrain."""

        penalty: NotNegative = 0.01  # weight of the group penalty
        threshold: float = Field(1e-3, ge=0)  # rows with no weight above it are removed
        every: int = Field(10, ge=1)  # rounds between removals

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.units = Units(self.layout)
        last, tensors = len(self.layout.layers) - 1, self.layout.tensors
        self.tensors = tuple(t for t in prunable(self.layout) if tensors[t].layer < last)

    @property
    def narrows(self) -> Narrowing:
        """Says that each layer loses rows of its own, if rows can be small enough."""
        return "apart" if self.keys.threshold else ""

    def start(self, weights: Vector) -> State:
        """Return the weights, and all units."""
        return {"weights": weights, "units": np.ones(len(self.units.place), np.uint8)}

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the network that is left, both ways, and the penalty."""
        rows, mask = self.units.network(state["units"])
        whole = all(keep.all() for keep in rows)
        held = Support.all(self.layout) if whole else Support(self.layout, "coordinate", mask)
        return Plan(
            down=held,
            up=held,
            known=True,
            submodel=None if whole else Submodel.of_rows(rows),
            tensors=self.tensors,
            by_row=True,
            penalty=self.keys.penalty,
        )

    def kept(self, state: State) -> Flags | None:
        """Return uint8[P]: 1 for the weights of the rows that are left."""
        return self.units.network(state["units"])[1]

    def step(self, state: State, sums: Sums, round: int) -> State:
        """Average, and every `every` rounds remove the rows that have become small."""
        after = super().step(state, sums, round)
        after["weights"] *= self.kept(state)  # late clients have rows that are gone
        if (round + 1) % self.keys.every:
            return after
        units = self.left(after["weights"], state["units"])
        weights = after["weights"] * self.units.network(units)[1]
        return {**after, "weights": weights, "units": units}

    def left(self, weights: Vector, units: Flags) -> Flags:
        """Return uint8[U]: `units` without those whose weights are all small."""
        largest = np.full(len(units), np.inf)  # inputs are never removed
        for t in self.tensors:
            tensor = self.layout.tensors[t]
            block = np.abs(weights[tensor.block])
            largest[self.units.layer == tensor.layer + 1] = block.reshape(tensor.rows, -1).max(1)
        new: Flags = units * (largest > self.keys.threshold).astype(np.uint8)
        for layer in np.flatnonzero(np.bincount(self.units.layer, new) == 0):
            here = np.flatnonzero(self.units.layer == layer)
            new[here[largest[here].argmax()]] = 1
        return new
