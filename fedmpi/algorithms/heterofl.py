"""HeteroFL: each client trains a model of its own width, nested in the global one.

Diao, Ding and Tarokh, "HeteroFL: Computation and Communication Efficient Federated Learning
for Heterogeneous Clients", ICLR 2021, arXiv:2010.01264: a client of width s holds the first
s * C rows of every layer but the last, and of these the inputs that such rows give; a weight
becomes the mean over the clients that hold it. Widths are drawn once for each client, or follow
[devices] policy.
Deviations: no scaling layer, no static batch normalisation (running statistics are averaged)
and no masked loss, without which the published code does not learn with the narrow widths; all of
it is in `heterofl-complete`.
"""

from math import ceil

import numpy as np
from pydantic import field_validator

from fedmpi.algorithm import Algorithm, Keys
from fedmpi.layout import Support
from fedmpi.plan import Own, Plan, Submodel
from fedmpi.sparsity import narrowed


class HeteroFL(Algorithm, name="heterofl"):
    """Nested widths; widths = [1.0] is FedAvg."""

    level = "coordinate"
    personal = True
    knob = "widths"
    moves = False  # whether a client has other rows from round to round

    class Keys(Keys):
        """The [algorithm] keys of HeteroFL."""

        widths: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625)  # drawn with equal chances

        @field_validator("widths")
        @classmethod
        def _in_range(cls, widths):
            if not widths or not all(0 < width <= 1 for width in widths):
                raise ValueError(f"widths = {list(widths)}: name at least one, in (0, 1]")
            return widths

    def __init__(self, keys, setting):
        super().__init__(keys, setting)
        self._parts = [self._part(width) for width in keys.widths]

    def plan(self, state, round, client):
        """The client's part of the model down and up."""
        width = self.keys.widths[self.width_of(client)]
        if self.moves:
            return self._plan(*self._part(width, round, client))
        return self._plan_of_width(width)

    def own(self, state, client):
        """The client's part of the global model."""
        _, part = self._parts[self.width_of(client)]
        return None if part is None else Own(state["weights"], part)

    def width_of(self, client):
        """Return which of the widths a client has, drawn once, or by [devices] policy."""
        widths = self.keys.widths
        if self.by_policy:
            values = sorted(set(widths))
            return widths.index(self.setting.fit(values, client, self._plan_of_width))
        return int(self.rng_for("heterofl", 0, client).integers(len(self.keys.widths)))

    def rows_of(self, layer, count, round, client):
        """Return bool[rows]: which `count` of a layer's rows a client has in a round."""
        return np.arange(layer.rows) < count

    def _plan_of_width(self, width):
        return self._plan(*self._parts[self.keys.widths.index(width)])

    @staticmethod
    def _plan(held, part):
        return Plan(down=held, up=held, known=True, submodel=part)

    def _part(self, width, round=0, client=0):
        """Return the Support of a width, and its Submodel."""
        if width == 1:
            return Support.all(self.layout), None
        *layers, last = self.layout.layers
        rows = [
            self.rows_of(layer, ceil(width * layer.rows), round, client) for layer in layers
        ]
        rows.append(np.ones(last.rows, bool))
        held = Support(self.layout, "coordinate", narrowed(self.layout, rows))
        return held, Submodel(rows=tuple(keep.tobytes() for keep in rows))
