"""The gradient of one batch, on which the engines that train one client at a time are built."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from fedmpi.arrays import AnyArray, Bools, Integers, Reals, Vector
from fedmpi.layout import Layout
from fedmpi.learn.draws import Draws
from fedmpi.plan import FULL, Backward


class Gradients(ABC):
    """Gradient and outputs of a network, with weights and gradient as flat float32[P] vectors.

    A dropped row takes its normalisation with it: its BN scale and shift get no gradient, and
    its running statistics do not change. The same holds below the lowest trained layer. Batch
    statistics are used nevertheless.

    Attributes
    ----------
    layout : Layout
    weights, grad : float32[P]
        Buffers of this object. A caller that works in them saves a copy each way; other vectors
        are copied. Callers must not change `grad`: a call may write only the entries that it
        differentiates, and clears the rest only if the previous call differentiated others.
    reason : str
        The reason why a rule chose this class; empty if no rule did.
    at_output : frozenset of int
        The layers for which `pulls` are available; see relevance.py.
    no_columns : str
        The reason why the statistic "columns" is undefined for the network; empty if it is defined.
    by_shape : bool
        True if a network is fully described by the shapes of its layers and its weights. Networks
        of equal shapes then share one object. It is false if a module may hold constants.
    """

    reason = ""
    by_shape = False
    at_output: frozenset[int] = frozenset()
    no_columns = ""

    def __init__(self, layout: Layout, weights: Vector, grad: Vector) -> None:
        self.layout, self.weights, self.grad = layout, weights, grad
        self._draws: Draws | None = None
        self._labels: Bools | None = None
        self._pulls: Mapping[int, Reals] = {}
        self._running = [t.block for t in layout.tensors if not t.trained]

    def gradient(
        self,
        weights: Vector,
        x: AnyArray,
        y: Integers,
        grad: Vector,
        backward: Backward = FULL,
        activations: list[Reals] | None = None,
        error: str = "cross-entropy",
        labels: Bools | None = None,
        pulls: Mapping[int, Reals] | None = None,
    ) -> float:
        """Return the mean error of one batch and fill in its gradient.

        Parameters
        ----------
        weights : float32[P]
            Read only, except for running statistics, which are updated in place.
        x : float32[N, ...]
        y : int64[N] or float32[N, outputs]
        grad : float32[P]
            Overwritten with the gradient, which is 0 for running statistics, for dropped rows and
            below the lowest trained layer.
        backward : Backward
            The rows and layers that are differentiated.
        activations : list of float64[rows], optional
            One for each layer, changed in place. The sum over batch and space of the absolute
            output of a convolution, linear or standalone norm layer, including the bias and
            before later operations, is added. For other kinds of layers nothing is added.
        error : str
            The name of a loss.
        labels : bool[classes], optional
            Outputs of classes that are False count as 0.
        pulls : dict of float64[rows] by layer, optional
            For these layers, which must be in `at_output`, z dL/dz is added up over batch and space
            in place. z are the raw outputs, and L is the mean error.

        Raises
        ------
        ValueError
            If the rows of `backward` do not fit the layout, or the loss is not supported here.
        """
        self._enter(weights)
        self._labels, self._pulls = labels, pulls or {}
        loss = self._differentiate(x, y, backward, activations, error)
        if weights is not self.weights:
            for block in self._running:
                weights[block] = self.weights[block]
        if grad is not self.grad:
            np.copyto(grad, self.grad)
        return loss

    def begin(self, draws: Draws) -> None:
        """Begin with a client, for which modules take their random numbers from `draws`."""
        self._draws = draws

    def outputs(self, weights: Vector, x: AnyArray) -> AnyArray:
        """Return the outputs float32[N, classes] for x float32[N, ...], in evaluation mode."""
        self._enter(weights)
        return self._evaluate(x)

    def _enter(self, weights: Vector) -> None:
        if weights is not self.weights:
            np.copyto(self.weights, weights)

    @abstractmethod
    def _differentiate(
        self,
        x: AnyArray,
        y: Integers,
        backward: Backward,
        activations: list[Reals] | None,
        error: str,
    ) -> float:
        """Write the gradient at `self.weights` into `self.grad` and return the mean error."""

    @abstractmethod
    def _evaluate(self, x: AnyArray) -> AnyArray:
        """Return the outputs at `self.weights`."""


def checked_rows(layout: Layout, backward: Backward) -> tuple[Bools | None, ...]:
    """Return bool[rows], or None for all, of each layer; raise ValueError if they do not fit."""
    rows = backward.rows or (None,) * len(layout.layers)
    if len(rows) != len(layout.layers):
        raise ValueError(f"rows of {len(rows)} layers given; the model has {len(layout.layers)}")
    for layer, keep in zip(layout.layers, rows, strict=True):
        if keep is not None and keep.shape != (layer.rows,):
            raise ValueError(f"layer {layer.name}: rows are bool{keep.shape}, not [{layer.rows}]")
    return tuple(None if keep is None or keep.all() else keep.astype(bool) for keep in rows)
