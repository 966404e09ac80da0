"""One client's steps: the gradient where the plan wants it, its corrections, the optimiser."""

import numpy as np

from fedmpi import kernels
from fedmpi.layout import Support
from fedmpi.learn.statistics import Statistics
from fedmpi.sparsity import coordinates, largest, readjusted

LONG = 64  # coordinates for each run, so that runs pay


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
        # The gradient is the engine's; what corrects it works on a copy.
        corrects = plan.penalty or plan.control is not None
        self._direction = self._grad.copy() if corrects else self._grad
        self._first, self._second = network.moments
        network.moments[: 2 if local.optimizer == "adam" else 1] = 0
        # The engine's own buffer spares it a copy a step; under a mask it holds the masked weights.
        self._point = self._engine.weights
        self._point[:] = start
        self._mask, self._update = network.own(plan.mask), network.own(plan.update)
        self._engine.error = plan.error
        # Under such a mask weights stay 0, and only some plans look at their gradient.
        fixed = self._mask is not None and plan.update is plan.mask
        looks = plan.readjust or "squares" in plan.statistics
        self._network, self._backward = network, plan.backward
        if self._mask is not None:
            wanted = self._update if fixed and not looks else None
            self._backward = network.under(plan.backward, self._mask, wanted)
        masked = self._mask is None or (fixed and not start[self._mask == 0].any())
        self.weights = self._point if masked else start.copy()
        self._still = network.still
        self._moving = _moving(self._layout, plan.backward, network.trained, self._update)
        same = self._moving is network.trained
        self._edges = network.edges if same else edges_of(self._moving)
        self._blocks = _blocks(self._layout, plan.tensors, plan.by_row)
        self._inside = coordinates(self._layout, plan.tensors) if plan.salient < 1 else None
        self.statistics = Statistics(self._layout, plan.statistics)
        self._plain = not (plan.statistics or plan.readjust or plan.penalty or plan.salient < 1)
        self._plain &= self._mask is None and plan.control is None
        self.count = 0

    def take(self, x, y, batch):
        """Take one step on the samples int64[n] `batch` of x float32[N, ...], y int64[N].

        Returns their mean loss.
        """
        self.count += 1
        loss = self._gradient(x, y, self._backward, self.statistics.activations, batch)
        self._optimise(self._moving if self._plain else self._corrected(len(batch)))
        return loss

    def _corrected(self, samples):
        """Measure and correct the gradient as the plan says; return what this step may move."""
        if self._mask is not None:
            self.weights[self._still] = self._point[self._still]  # running statistics
        self.statistics.see(self._point, self._grad, samples)
        if self._plan.readjust and self.count == 1:
            self._readjust()
        if self._direction is not self._grad:
            self._direct()
        moving = self._moving if self._inside is None else self._salient()
        self.statistics.moved(moving)
        return moving

    def _direct(self):
        """Set the direction to the gradient, corrected as the plan says."""
        control, penalty = self._plan.control, self._plan.penalty
        np.copyto(self._direction, self._grad)
        if penalty:
            kernels.penalty.group_norm(self._direction, self._point, *self._blocks, penalty)
        if control is not None:
            np.add(self._direction, control, out=self._direction)

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
        if self.weights is not self._point:
            np.multiply(self.weights, self._mask, out=self._point)
        return self._engine.gradient(self._point, x, y, self._grad, *how)

    def _readjust(self):
        """Replace a part of the mask; weights that come begin at 0."""
        plan, old = self._plan, self._mask
        self._mask = readjusted(
            self._layout, plan.tensors, old, self.weights, self._grad, plan.readjust
        )
        self._moving = (self._moving | (self._mask > old)) & (self._mask >= old)
        self._edges = edges_of(self._moving)
        self._backward = self._network.under(plan.backward, self._mask, None)
        self.weights[self._mask != old] = 0
        self.statistics.keep("mask", self._mask)

    def _salient(self):
        """uint8[P']: what this step may move, the entries of the largest |w dL/dw|."""
        moving, inside = self._moving.copy(), self._inside
        score = np.abs(self._point[inside] * self._direction[inside])
        moving[inside] *= largest(score, round(self._plan.salient * score.size))
        return moving

    def _optimise(self, moving):
        local, decay, mu = self._local, self._local.weight_decay, self._plan.proximal
        update, weights, grad = kernels.update, self.weights, self._direction
        if local.optimizer == "adam":
            moments = (self._first, self._second)
            update.adam(
                weights, grad, *moments, self._start, moving, self._lr, decay, mu, self.count
            )
        else:
            update.sgd(
                weights, grad, self._first, self._start, moving, self._edges,
                self._lr, local.momentum, decay, mu,
            )  # fmt: skip


def _moving(layout, backward, trained, update):
    """uint8[P']: 1 where the optimiser moves a coordinate; dropped rows stay where they are."""
    moving = trained
    if backward.rows is not None or backward.lowest:
        rows = backward.rows or (None,) * len(layout.layers)
        below = [np.zeros(layer.rows, bool) for layer in layout.layers[: backward.lowest]]
        moving = moving * Support.of_rows(layout, (*below, *rows[backward.lowest :])).mask()
    return moving if update is None else moving * update


def edges_of(moving):
    """Return uint32[2 R]: the runs of coordinates where uint8[P] `moving` is not 0.

    One run of all where they are many: short ones cost more than they leave out.
    """
    runs = kernels.pack.count(moving)[1]
    if runs > moving.size // LONG:
        return np.array([0, moving.size], np.uint32)
    edges = np.empty(2 * runs, np.uint32)
    kernels.pack.edges(moving, edges)
    return edges


def _blocks(layout, tensors, by_row):
    """Return (starts, stops) int64[G] of some tensors, or of all their rows."""
    starts, sizes = [], []
    for tensor in (layout.tensors[t] for t in tensors):
        rows = tensor.rows if by_row else 1
        size = tensor.size // rows
        starts += range(tensor.start, tensor.start + tensor.size, size)
        sizes += [size] * rows
    return np.array(starts, np.int64), np.array(starts, np.int64) + np.array(sizes, np.int64)
