"""HeteroFL as its authors run it, with every measure that keeps models of different widths in step.

Diao, Ding and Tarokh, "HeteroFL: Computation and Communication Efficient Federated Learning
for Heterogeneous Clients", ICLR 2021, arXiv:2010.01264, and its published code. It adds to the
nested widths of `heterofl`:

- the scaler: in training a layer's outputs are divided by the client's width;
- the masked loss: a client sets the outputs of classes, labels or tokens that it lacks to 0;
- static batch normalisation: running statistics are neither kept nor sent; before an evaluation
  they are measured in one pass over the training data;
- rows of the last layer are averaged over the clients that hold their class;
- gradients are clipped at the norm `clip`.

With dynamic = true clients draw a width in each round. The code averages uniformly ([clients]
weighting = "uniform"), and runs momentum 0.9 and weight decay 5e-4 on `heterofl-cnn`. Deviations:
rows of classes that a client lacks are not sent at all, where the code sends and then drops them;
local_accuracy tests the global model with all of its outputs. The pass before an evaluation is not
counted in bytes, FLOPs and time.
"""

from dataclasses import replace

import numpy as np
from pydantic import Field

from fedmpi.algorithms.widths import Widths
from fedmpi.arrays import Bools, Flags, State
from fedmpi.errors import ConfigError
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.setting import Setting


class HeteroFLComplete(Widths, name="heterofl-complete"):
    """Nested widths with scaler, masked loss and static normalisation."""

    torch_only = static_norm = True

    class Keys(Widths.Keys):
        """The [algorithm] keys of complete HeteroFL."""

        clip: float = Field(1.0, ge=0)  # largest norm of a gradient; 0: no limit
        dynamic: bool = False  # draw widths in each round

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        if setting.labels is None:
            raise ConfigError(
                f"algorithm {self.name}: sets the outputs of classes that a client lacks to 0, and "
                "needs samples with classes, labels or tokens that are known before the run; take "
                f"another data set, or algorithm.name = '{self.name.partition('-')[0]}'"
            )
        self._labels = setting.labels
        self._learned = self.layout.trained.astype(np.uint8)

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan: the client's part both ways, up without rows of classes it lacks."""
        number, labels = self.width_of(client, round), self._labels[client]
        width, made = self.keys.widths[number], self._submodels[number]
        support, submodel = self._submodel(width, round, client) if self.moves else made
        held = support.mask() * self._learned
        return Plan(
            down=Support(self.layout, "coordinate", held),
            up=Support(self.layout, "coordinate", held * self._of_labels(labels)),
            known=True,
            submodel=submodel and replace(submodel, divisor=width),
            labels=labels,
            clip=self.keys.clip,
        )

    def width_of(self, client: int, round: int = 0) -> int:
        """Return which of the widths a client has in a round."""
        if self.by_policy or not self.keys.dynamic:
            return super().width_of(client)
        return int(self.rng_for("heterofl", round, client).integers(len(self.keys.widths)))

    def _of_labels(self, labels: Bools) -> Flags:
        """Return uint8[P]: 0 in the last layer's rows of classes not in bool[classes] `labels`."""
        rows: list[Bools | None] = [*[None] * (len(self.layout.layers) - 1), labels]
        return Support.of_rows(self.layout, rows).mask()
