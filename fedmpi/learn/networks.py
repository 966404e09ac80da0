"""The networks that clients train: the whole model, or parts of it."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedmpi.arrays import AnyArray, Flags, Integers, Vector
from fedmpi.errors import ConfigError, FedmpiError
from fedmpi.layout import Layout
from fedmpi.learn.steps import edges_of
from fedmpi.plan import Submodel
from fedmpi.units import narrowed

_MOST = 8  # parts that are cached; each holds a few vectors of its size


class Network:
    """A backend that computes a network, with the positions of its coordinates in the model.

    Parameters
    ----------
    backend : Gradients, or another backend of an engine
        Must have a `layout`.
    first : float32[P']
        The initial weights, which a private end starts from.
    index : int64[n], optional
        Positions in the model of the first n coordinates of the part; the rest is private to
        the client. None for the whole model.
    remake : callable, optional
        Returns a new torch module of the network, for computations that the backend lacks.
    """

    def __init__(
        self, backend: Any, first: Vector, index: Integers | None = None,
        remake: Callable[[], Any] | None = None,
    ) -> None:
        self.backend, self.first, self.index = backend, first, index
        self.layout: Layout = backend.layout
        self.remake = remake

    @cached_property
    def curvature(self) -> Any:
        """The function of `curvature_of` for this network (curvature.py)."""
        from fedmpi.learn.curvature import curvature_of  # needs torch

        if self.remake is None:
            raise FedmpiError("Network: made without `remake`, so it has no curvature; give it one")
        return curvature_of(self.remake(), self.layout)

    @cached_property
    def moments(self) -> Vector:
        """float32[2, P']: buffers of the optimiser."""
        return np.zeros((2, self.layout.size), np.float32)

    @cached_property
    def trained(self) -> Flags:
        """uint8[P']: 1 where a coordinate is trained."""
        return self.layout.trained.astype(np.uint8)

    @cached_property
    def edges(self) -> NDArray[np.uint32]:
        """uint32[2 R]: the runs of coordinates that are trained."""
        found: NDArray[np.uint32] = edges_of(self.trained)
        return found

    @cached_property
    def still(self) -> Integers:
        """int64[n]: the coordinates of the running statistics."""
        return np.flatnonzero(~self.layout.trained)

    def enter(self, start: Vector, private: Vector | None) -> Vector:
        """Return this network's weights float32[P'], from the model's and the private end."""
        if self.index is None:
            return start
        shared = len(self.index)
        weights = self.first.copy()
        weights[:shared] = start[self.index]
        if private is not None:
            size = len(weights) - shared
            if np.shape(private) != (size,):
                raise FedmpiError(
                    f"plan: private is an array of shape {list(np.shape(private))}; it must be "
                    f"float32[{size}], the private end of its Submodel"
                )
            weights[shared:] = private
        return weights

    def part_of(self, values: AnyArray | None) -> AnyArray | None:
        """Return those of the values [P] that are at this network's coordinates; None for None.

        Raises ConfigError if the network has a private end, for which there are no values.
        """
        if values is None or self.index is None:
            return values
        if len(self.index) < self.layout.size:
            raise ConfigError(
                "plan: has a Submodel with a private end, and a vector (mask, update, control, "
                "...) that covers the model's own coordinates alone; leave out one of them"
            )
        part: AnyArray = values[self.index]
        return part

    def leave(self, start: Vector, weights: Vector) -> tuple[Vector, Vector | None]:
        """Return the model's weights float32[P] with the trained values, and the private end."""
        if self.index is None:
            return weights, None
        whole = start.copy()
        whole[self.index] = weights[: len(self.index)]
        return whole, weights[len(self.index) :]


class Networks:
    """The network of the whole model, and those of its parts, which are built on demand.

    Parameters
    ----------
    make : callable
        make(options) -> a new torch module of the model; `options` is a dict of its own options.
    sample : array [1, ...]
        One input.
    backend_of : callable
        backend_of(module) -> (backend, initial weights).
    whole : Network, optional
        The network of the whole model, if another rank has built it and nothing is frozen. Torch
        is then imported only for parts.

    Attributes
    ----------
    constants : dict of arrays
        The frozen weights by name.
    """

    def __init__(
        self,
        make: Callable[[dict[str, Any]], Any],
        sample: AnyArray,
        backend_of: Callable[[Any], tuple[Any, Vector]],
        whole: Network | None = None,
    ) -> None:
        self._make, self.sample, self._backend_of = make, sample, backend_of
        self.constants: Mapping[str, AnyArray] = {}
        self.whole = whole or self._built_whole()
        self.whole.remake = self.whole.remake or self.module
        self._parts: OrderedDict[Submodel, Network] = OrderedDict()

    def _built_whole(self) -> Network:
        from fedmpi.learn.constants import frozen_parameters  # needs torch

        module = self._make({})
        self.constants = frozen_parameters(module)
        return Network(*self._backend_of(module))

    def module(self) -> Any:
        """Return a new module of the whole model, with its initial weights."""
        return self._make({})

    def of(self, part: Submodel | None) -> Network:
        """Return the Network of a Submodel (None for the whole model)."""
        if part is None:
            return self.whole
        if part not in self._parts:
            self._parts[part] = self._shared(part) or self._build(part)
            while len(self._parts) > _MOST:
                self._parts.popitem(last=False)
        self._parts.move_to_end(part)
        return self._parts[part]

    def _module_of(self, part: Submodel) -> tuple[Any, Integers]:
        """Return a new module of a Submodel, and the positions of its shared coordinates."""
        from fedmpi.learn.layout_of import layout_of  # these need torch
        from fedmpi.learn.narrow import divide, narrow

        module = self._make(dict(part.options))
        if part.rows is None and part.divisor == 1:
            return module, np.arange(part.shared)
        # `divide` reads only the names and kinds of layers, which are the same after `narrow`.
        layout = layout_of(module, self.sample) if part.options else self.whole.layout
        if part.rows is not None:
            narrow(module, layout, [np.frombuffer(row, bool) for row in part.rows])
        if part.divisor != 1:
            divide(module, layout, part.divisor)
        return module, self._index(part)

    def _index(self, part: Submodel) -> Integers:
        """Return int64[n]: the positions of a Submodel's shared coordinates in the model."""
        if part.rows is None:
            return np.arange(part.shared)
        rows = [np.frombuffer(row, bool) for row in part.rows]
        return np.flatnonzero(narrowed(self.whole.layout, rows))

    def _shared(self, part: Submodel) -> Network | None:
        """Return a Network on the backend of a known part with as many rows in each layer.

        Returns None if there is no such part, or if its backend reads more than the weights.
        """
        for known, network in self._parts.items():
            by_shape = getattr(network.backend, "by_shape", False)
            if by_shape and part.rows is not None and _shape(known) == _shape(part):
                return Network(
                    network.backend, network.first, self._index(part),
                    lambda: self._module_of(part)[0],
                )  # fmt: skip
        return None

    def _build(self, part: Submodel) -> Network:
        layout = self.whole.layout
        module, index = self._module_of(part)
        try:
            backend, first = self._backend_of(module)
        except ConfigError:
            if part.rows is None:
                raise
            raise ConfigError(
                "model: does not run without some of its channels, so its layers are not a plain "
                "chain, or normalise over channels (GroupNorm, LayerNorm); methods that remove "
                "channels need a chain without those, such as lenet5, mlp or vgg11"
            ) from None
        if part.rows is None and _first(backend.layout, part.shared) != _first(layout, part.shared):
            raise ConfigError(f"model: with {dict(part.options)} it shares no first layers")
        return Network(backend, first, index, lambda: self._module_of(part)[0])


def _shape(part: Submodel) -> Submodel:
    """Return `part` with its kept rows moved to the front; equal shapes then compare equal."""
    if part.rows is None:
        return part
    rows = (np.sort(np.frombuffer(row, bool))[::-1].tobytes() for row in part.rows)
    return replace(part, rows=tuple(rows))


def _first(layout: Layout, size: int) -> list[tuple[str, tuple[int, ...]]]:
    """Return names and shapes of the tensors that begin in the first `size` coordinates."""
    return [(tensor.name, tensor.shape) for tensor in layout.tensors if tensor.start < size]
