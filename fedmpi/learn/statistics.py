"""The statistics that a plan asks for, measured while a client trains."""

from collections.abc import Container, Iterator, Sequence
from typing import Any

import numpy as np

from fedmpi.arrays import AnyArray, Flags, Reals, Vector
from fedmpi.layout import Layout, Tensor
from fedmpi.units import inputs_of

RELEVANT = frozenset(("conv", "linear", "norm", "adapter", "bilinear", "embedding"))
"""The kinds of layers whose rows have a relevance that follows from weights and gradients."""


class Statistics:
    """Sums over the steps of one client's training; `wanted` names them, as in Plan.

    `activations` is None, or a list of float64[rows] to which the engine adds. If relevance is
    wanted, `pulls` holds float64[rows] for each layer in `at_output` (relevance.py), to which the
    engine adds its measurements of a step.
    """

    def __init__(
        self, layout: Layout, wanted: Sequence[str], at_output: frozenset[int] = frozenset()
    ) -> None:
        self._layout = layout
        self._found: dict[str, Any] = {}  # arrays, or a list of them by layer
        self._samples: dict[str, int] = {}
        measured = at_output if "relevance" in wanted else ()
        self.pulls = {number: np.zeros(layout.layers[number].rows) for number in measured}
        self._wanted = frozenset(wanted)
        for name in wanted:
            if name in ("activations", "relevance"):
                self._found[name] = [np.zeros(layer.rows) for layer in layout.layers]
            elif name == "columns":
                self._found[name] = [np.zeros(size) for size in inputs_of(layout)]
            elif name in ("squares", "summed"):
                self._found[name] = np.zeros(layout.size, np.float32)
            elif name == "moved":
                self._found[name] = np.zeros(layout.size, bool)
        self.activations: list[Reals] | None = self._found.get("activations")

    def see(self, weights: Vector, grad: Vector, samples: int) -> None:
        """Add one step: `grad` float32[P] at `weights`, of the mean loss over `samples`."""
        if "relevance" in self._found:
            self._relevance(weights, grad, samples)
        if "squares" in self._found:
            self._found["squares"] += grad * grad
        if "summed" in self._found:
            self._found["summed"] += grad

    def moved(self, moving: Flags) -> None:
        """Add one step: `moving` uint8[P] marks the weights that it may have moved."""
        if "moved" in self._found:
            self._found["moved"] |= moving != 0

    def columns(self, weights: Vector, grad: Vector, samples: int) -> None:
        """Add one batch: -w dL/dw, summed over the weights that read each input of a layer."""
        for number, tensors in enumerate(self._layout.layer_tensors):
            tensor = self._layout.tensors[tensors[0]]
            block = tensor.block
            shape = (tensor.rows, len(self._found["columns"][number]), -1)
            w, g = (v[block].reshape(shape) for v in (weights, grad))
            values = np.einsum("rik,rik->i", w, g)
            self._found["columns"][number] -= samples * values.astype(np.float64)

    def keep(self, name: str, values: AnyArray) -> None:
        """Add a finished statistic, if it is wanted."""
        if name in self._wanted:
            self._found[name] = values

    def mean(self, name: str, values: Vector, samples: int) -> None:
        """Update the mean over all samples with `values` float32[P], the mean over `samples`."""
        before = self._samples.get(name, 0)
        self._samples[name] = before + samples
        old = self._found[name] if before else np.zeros_like(values)
        self._found[name] = old + (values - old) * np.float32(samples / self._samples[name])

    def found(self, name: str) -> Any:
        """Return the current value of a statistic."""
        return self._found[name]

    def result(self) -> dict[str, Any]:
        """Return the statistics by name."""
        return self._found

    def _relevance(self, weights: Vector, grad: Vector, samples: int) -> None:
        """Subtract z dL/dz of each row, which is sum(w dL/dw) over its weight and bias."""
        for number, pulls in self.pulls.items():
            self._found["relevance"][number] -= samples * pulls
            pulls[:] = 0
        for number, tensors in told_by_weights(self._layout, self.pulls):
            for tensor in tensors:
                block = tensor.block
                w, g = (v[block].reshape(tensor.rows, -1) for v in (weights, grad))
                rows = np.einsum("ri,ri->r", w, g)
                self._found["relevance"][number] -= samples * rows.astype(np.float64)


def told_by_weights(
    layout: Layout, measured: Container[int]
) -> Iterator[tuple[int, list[Tensor]]]:
    """Yield (number, [weight and bias]) of the layers whose relevance is -w dL/dw by row.

    Layers of other kinds have no relevance. That of the layers in `measured` is measured instead.
    """
    for number, (layer, tensors) in enumerate(zip(layout.layers, layout.layer_tensors)):
        if layer.kind in RELEVANT and number not in measured:
            own = [layout.tensors[t] for t in tensors]
            prefix = own[0].name.rpartition(".")[0]
            # A normalisation that joined the layer comes after the raw output.
            yield number, [t for t in own if t.name.rpartition(".")[0] == prefix]
