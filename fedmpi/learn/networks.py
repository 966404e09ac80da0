"""The networks that clients train: the whole model, or parts of it, each with its buffers."""

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from fedmpi.errors import ConfigError
from fedmpi.learn.layout_of import layer_modules, layout_of
from fedmpi.learn.steps import edges_of
from fedmpi.sparsity import narrowed

_MOST = 8  # parts kept ready; each holds a few vectors of its size


class Network:
    """An engine, its optimiser's buffers, and where its coordinates lie in the whole model.

    `index` int64[n] gives the place in the model of the first n coordinates of the part;
    the rest is private to the client. None for the whole model.
    """

    def __init__(self, engine, first, index=None):
        self.engine, self.layout, self.index = engine, engine.layout, index
        self._first = first  # float32[P]: what a private end starts from
        self.moments = np.zeros((2, self.layout.size), np.float32)
        self.trained = self.layout.trained.astype(np.uint8)
        self.edges = edges_of(self.trained)
        self.still = np.flatnonzero(~self.layout.trained)  # running statistics
        self._under = (None, None, None), None  # what was asked of `under`, and the answer

    def enter(self, start, private):
        """Return the weights of this network, float32[P'], from those of the model."""
        if self.index is None:
            return start
        shared = len(self.index)
        weights = self._first.copy()
        weights[:shared] = start[self.index]
        if private is not None:
            weights[shared:] = private
        return weights

    def own(self, mask):
        """Return uint8[P'] of uint8[P]: a mask of the model for this network; None stays None."""
        return mask if mask is None or self.index is None else mask[self.index]

    def under(self, backward, mask, update):
        """Return `backward` with these masks, uint8[P'] or None, that spare the engine work.

        The same object for the same arrays: an engine prepares once for all clients that share
        a mask.
        """
        asked = backward, mask, update
        if any(one is not other for one, other in zip(asked, self._under[0], strict=True)):
            self._under = asked, replace(backward, mask=mask, update=update)
        return self._under[1]

    def leave(self, start, weights):
        """Return float32[P] with the trained values in their places, and the private end."""
        if self.index is None:
            return weights, None
        whole = start.copy()
        whole[self.index] = weights[: len(self.index)]
        return whole, weights[len(self.index) :]


class Networks:
    """The model's network, and its parts as they are asked for.

    Parameters
    ----------
    make : callable
        Returns a new torch module of the model, given a dict of options of its own.
    engine : Engine
        Of the whole model.
    sample : array [1, ...]
        One input.
    engine_of : callable
        Returns the engine of a module and its first weights.
    """

    def __init__(self, make, engine, sample, engine_of):
        self._make, self._sample, self._engine_of = make, sample, engine_of
        self.whole = Network(engine, engine.weights)
        self._parts = OrderedDict()

    def of(self, part):
        """Return the Network of a Submodel (None for the whole model)."""
        if part is None:
            return self.whole
        if part not in self._parts:
            self._parts[part] = self._build(part)
            while len(self._parts) > _MOST:
                self._parts.popitem(last=False)
        self._parts.move_to_end(part)
        return self._parts[part]

    def _build(self, part):
        layout = self.whole.layout
        module = self._make(dict(part.options))
        index = np.arange(part.shared)
        if part.rows is not None:
            rows = [np.frombuffer(row, bool) for row in part.rows]
            index = np.flatnonzero(narrowed(layout, rows))
            narrow(module, layout_of(module, self._sample), rows)
        try:
            engine, first = self._engine_of(module)
        except ConfigError:
            if part.rows is None:
                raise
            raise ConfigError(
                "model: does not run without some of its channels, so its layers are no plain "
                "chain; methods that remove channels need one, such as lenet5, mlp or vgg11"
            ) from None
        if part.rows is None and _first(engine.layout, part.shared) != _first(layout, part.shared):
            raise ConfigError(f"model: with {dict(part.options)} it shares no first layers")
        return Network(engine, first, index)


def _first(layout, size):
    """Names and shapes of the tensors that make up the first `size` coordinates."""
    return [(tensor.name, tensor.shape) for tensor in layout.tensors if tensor.start < size]


def narrow(module, layout, rows):
    """Remove output rows from the layers of `module`, a chain, and the inputs that read them.

    `rows` is bool[rows] for each layer. Changes the module in place: it becomes smaller, and
    its outputs are those of the whole module with the removed rows' outputs at 0.
    """
    before = None
    for layer, keep, parts in zip(layout.layers, rows, layer_modules(module, layout), strict=True):
        keep = before if layer.kind == "norm" else keep
        for part in parts:
            _narrow_part(part, keep, None if hasattr(part, "num_features") else before)
        before = keep


def _narrow_part(part, rows, columns):
    """Keep `rows` of all tensors of one module, and `columns` of its weight, in place."""
    rows = torch.from_numpy(np.flatnonzero(rows))
    for name, values in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
        if values.dim() == 0:
            continue
        left = values.detach().index_select(0, rows)
        if columns is not None and left.dim() > 1:
            wide = np.repeat(columns, left.shape[1] // len(columns))
            left = left.index_select(1, torch.from_numpy(np.flatnonzero(wide)))
        trained = isinstance(values, nn.Parameter)
        setattr(part, name, nn.Parameter(left) if trained else left)
    shape = part.weight.shape
    for name, size in zip(("out_channels", "in_channels"), shape, strict=False):
        if isinstance(part, nn.Conv2d):
            setattr(part, name, size)
    if isinstance(part, nn.Linear):
        part.out_features, part.in_features = shape
    if hasattr(part, "num_features"):
        part.num_features = shape[0]
