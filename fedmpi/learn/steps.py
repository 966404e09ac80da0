"""One client's steps: the gradient where the plan wants it, its corrections, the optimiser."""

import numpy as np

from fedmpi import kernels
from fedmpi.layout import Support
from fedmpi.learn.statistics import Statistics
from fedmpi.sparsity import coordinates, largest, readjusted


class Steps:
    """The steps of one client's training under one plan, on the weights of one network.

    Parameters
    ----------
    network : Network
        Its buffers are used; one Steps at a time.
    plan : Plan
    local : Local
        The optimiser's keys.
    lr : float
        Learning rate of this round.
    start : float32[P']
        The weights that training starts from, in the network's own coordinates.

    Attributes
    ----------
    weights : float32[P']
        The weights, changed in place by every step.
    """

    def __init__(self, network, plan, local, lr, start):
        self._plan, self._local, self._lr = plan, local, np.float32(lr)
        self._engine, self._layout = network.engine, network.layout
        self._grad, self._start = network.engine.grad, start
        self._first, self._second = network.moments
        network.moments[: 2 if local.optimizer == "adam" else 1] = 0
        # The engine's own buffer spares it a copy a step; under a mask it holds the masked weights.
        self._point = self._engine.weights
        self._point[:] = start
        self._mask, self._update = network.own(plan.mask), network.own(plan.update)
        self._engine.error = plan.error
        self.weights = self._point if self._mask is None else start.copy()
        self._still = network.still
        self._moving = _moving(self._layout, plan.backward, network.trained, self._update)
        self._blocks = _blocks(self._layout, plan.tensors)
        self._inside = coordinates(self._layout, plan.tensors) if plan.salient < 1 else None
        self.statistics = Statistics(self._layout, plan.statistics)
        self._plain = not (plan.statistics or plan.readjust or plan.penalty or plan.salient < 1)
        self._plain &= self._mask is None and plan.control is None
        self.count = 0

    def take(self, x, y):
        """Take one step on the batch x float32[N, ...], y int64[N]; return its mean loss."""
        self.count += 1
        loss = self._gradient(x, y, self._plan.backward, self.statistics.activations)
        self._optimise(self._moving if self._plain else self._corrected(len(y)))
        return loss

    def _corrected(self, samples):
        """Measure and correct the gradient as the plan says; return what this step may move."""
        if self._mask is not None:
            self.weights[self._still] = self._point[self._still]  # running statistics
        self.statistics.see(self._point, self._grad, samples)
        if self._plan.readjust and self.count == 1:
            self._readjust()
        if self._plan.penalty:
            kernels.penalty.group_norm(self._grad, self._point, *self._blocks, self._plan.penalty)
        if self._plan.control is not None:
            np.add(self._grad, self._plan.control, out=self._grad)
        moving = self._moving if self._inside is None else self._salient()
        self.statistics.moved(moving)
        return moving

    def end_epoch(self):
        """Set small entries to 0, if the plan says so."""
        if self._plan.threshold:
            for start, stop in zip(*self._blocks, strict=True):
                block = self.weights[start:stop]
                block[np.abs(block) <= np.float32(self._plan.threshold)] = 0

    def measure(self, x, y):
        """Take one batch into the statistics of columns, and leave everything as it is."""
        still = self.weights[self._still]
        self._gradient(x, y)
        self.weights[self._still] = still
        self.statistics.columns(self._point, self._grad, len(y))

    def probe(self, x, y):
        """Measure the gradient of one batch, of all coordinates, and leave everything as it is."""
        still = self.weights[self._still]
        self._gradient(x, y)
        self.weights[self._still] = still
        self.statistics.keep("gradient", self._grad.copy())

    def _gradient(self, x, y, *how):
        if self._mask is not None:
            np.multiply(self.weights, self._mask, out=self._point)
        return self._engine.gradient(self._point, x, y, self._grad, *how)

    def _readjust(self):
        """Replace a part of the mask; weights that come begin at 0."""
        plan, old = self._plan, self._mask
        self._mask = readjusted(
            self._layout, plan.tensors, old, self.weights, self._grad, plan.readjust
        )
        self._moving = (self._moving | (self._mask > old)) & (self._mask >= old)
        self.weights[self._mask != old] = 0
        self.statistics.keep("mask", self._mask)

    def _salient(self):
        """uint8[P']: what this step may move, the entries of the largest |w dL/dw|."""
        moving, inside = self._moving.copy(), self._inside
        score = np.abs(self._point[inside] * self._grad[inside])
        moving[inside] *= largest(score, round(self._plan.salient * score.size))
        return moving

    def _optimise(self, moving):
        local, decay, mu = self._local, self._local.weight_decay, self._plan.proximal
        update, weights, grad = kernels.update, self.weights, self._grad
        if local.optimizer == "adam":
            moments = (self._first, self._second)
            update.adam(
                weights, grad, *moments, self._start, moving, self._lr, decay, mu, self.count
            )
        else:
            update.sgd(
                weights, grad, self._first, self._start, moving, self._lr, local.momentum, decay, mu
            )


def _moving(layout, backward, trained, update):
    """uint8[P']: 1 where the optimiser moves a coordinate; dropped rows stay where they are."""
    moving = trained
    if backward.rows is not None or backward.lowest:
        rows = backward.rows or (None,) * len(layout.layers)
        below = [np.zeros(layer.rows, bool) for layer in layout.layers[: backward.lowest]]
        moving = moving * Support.of_rows(layout, (*below, *rows[backward.lowest :])).mask()
    return moving if update is None else moving * update


def _blocks(layout, tensors):
    """Return (starts, stops) int64[G] of some tensors."""
    starts = [layout.tensors[t].start for t in tensors]
    sizes = [layout.tensors[t].size for t in tensors]
    return np.array(starts, np.int64), np.array(starts, np.int64) + np.array(sizes, np.int64)
