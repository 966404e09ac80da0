"""The base of methods whose clients train the network without some of its rows."""

import numpy as np

from fedmpi.algorithm import Algorithm, Narrowing
from fedmpi.arrays import Bools, State
from fedmpi.layout import Layer, Support
from fedmpi.plan import Plan, Submodel
from fedmpi.section import Section, Shares
from fedmpi.setting import Setting
from fedmpi.units import count_of, narrowed


class Widths(Algorithm):
    """A client of width s holds s * C rows, chosen by `rows_of`, of every layer but the last."""

    level = "coordinate"
    sends_as_planned = True
    knob = "widths"
    apart = False  # whether layers of as many rows have different rows
    moves = False  # whether a client's rows change from round to round

    class Keys(Section):
        """The [algorithm] keys of methods with widths."""

        widths: Shares = (1.0, 0.5, 0.25, 0.125, 0.0625)  # drawn with equal chances

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self._submodels = [self._submodel(width) for width in keys.widths]

    def plan(self, state: State, round: int, client: int) -> Plan:
        """Return a Plan of the client's part of the model, both ways."""
        width = self.keys.widths[self.width_of(client)]
        if self.moves:
            return self._plan(*self._submodel(width, round, client))
        return self._plan_of_width(width)

    @property
    def narrows(self) -> Narrowing:
        """Says that layers lose rows, unless all clients have the whole model."""
        return "" if min(self.keys.widths) == 1 else "apart" if self.apart else "alike"

    def width_of(self, client: int) -> int:
        """Return the index of a client's width, drawn once or chosen by [devices] policy."""
        widths: tuple[float, ...] = self.keys.widths
        if self.by_policy:
            values = sorted(set(widths))
            return widths.index(self.setting.fit(values, client, self._plan_of_width))
        return int(self.rng_for("heterofl", 0, client).integers(len(self.keys.widths)))

    def rows_of(self, layer: Layer, count: int, round: int, client: int) -> Bools:
        """Return bool[rows]: which `count` of a layer's rows a client has in a round."""
        return np.arange(layer.rows) < count

    def _plan_of_width(self, width: float) -> Plan:
        return self._plan(*self._submodels[self.keys.widths.index(width)])

    @staticmethod
    def _plan(held: Support, submodel: Submodel | None) -> Plan:
        return Plan(down=held, up=held, known=True, submodel=submodel)

    def _submodel(
        self, width: float, round: int = 0, client: int = 0
    ) -> tuple[Support, Submodel | None]:
        """Return the Submodel of a width, None for the whole model, after its Support."""
        if width == 1:
            return Support.all(self.layout), None
        *layers, last = self.layout.layers
        # The last layer's outputs are the model's; the components of an adapter are not outputs.
        shares = [width] * len(layers) + [width if last.kind == "adapter" else 1.0]
        rows = [
            self.rows_of(layer, count_of(share, layer.rows), round, client)
            for layer, share in zip(self.layout.layers, shares, strict=True)
        ]
        held = Support(self.layout, "coordinate", narrowed(self.layout, rows))
        return held, Submodel.of_rows(rows)
