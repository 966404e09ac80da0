"""What a plan wants measured while a client trains."""

import numpy as np

from fedmpi.units import inputs_of


class Statistics:
    """Sums over the steps of one client's training; `wanted` names them, as in Plan.

    `activations` is None, or the list of float64[rows] that the engine adds to.
    """

    def __init__(self, layout, wanted):
        self._layout, self._found, self._samples = layout, {}, {}
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
        self.activations = self._found.get("activations")

    def see(self, weights, grad, samples):
        """Take in one step: the gradient float32[P] at `weights` of the mean of `samples`."""
        if "relevance" in self._found:
            self._relevance(weights, grad, samples)
        if "squares" in self._found:
            self._found["squares"] += grad * grad
        if "summed" in self._found:
            self._found["summed"] += grad

    def moved(self, moving):
        """Take in uint8[P]: what one step may have moved."""
        if "moved" in self._found:
            self._found["moved"] |= moving != 0

    def columns(self, weights, grad, samples):
        """Take in one batch: -w dL/dw, summed over all that reads an input of a layer."""
        for number, tensors in enumerate(self._layout.layer_tensors):
            tensor = self._layout.tensors[tensors[0]]
            block = tensor.block
            shape = (tensor.rows, len(self._found["columns"][number]), -1)
            w, g = (v[block].reshape(shape) for v in (weights, grad))
            values = np.einsum("rik,rik->i", w, g)
            self._found["columns"][number] -= samples * values.astype(np.float64)

    def keep(self, name, values):
        """Add a finished statistic, if it is wanted."""
        if name in self._wanted:
            self._found[name] = values

    def mean(self, name, values, samples):
        """Let float32[P] `values`, the mean over some samples, enter the mean over all of them."""
        before = self._samples.get(name, 0)
        self._samples[name] = before + samples
        old = self._found[name] if before else np.zeros_like(values)
        self._found[name] = old + (values - old) * np.float32(samples / self._samples[name])

    def found(self, name):
        """Return a statistic as it is so far."""
        return self._found[name]

    def result(self):
        """Return the statistics by name."""
        return self._found

    def _relevance(self, weights, grad, samples):
        """Subtract sum(w dL/dw) over the weight and bias of each row, which is z dL/dz."""
        for number, tensors in enumerate(self._layout.layer_tensors):
            layer = self._layout.tensors[tensors[0]].name.rpartition(".")[0]
            for t in tensors:
                tensor = self._layout.tensors[t]
                # A normalisation that joined the layer comes after the raw output.
                if tensor.name.rpartition(".")[0] != layer or tensor.rows == 1:
                    continue
                block = tensor.block
                w, g = (v[block].reshape(tensor.rows, -1) for v in (weights, grad))
                rows = np.einsum("ri,ri->r", w, g)
                self._found["relevance"][number] -= samples * rows.astype(np.float64)
