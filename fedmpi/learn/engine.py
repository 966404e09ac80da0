"""The torch engine: gradients and outputs of any torch module, by way of flat vectors."""

import numpy as np
import torch

from fedmpi.learn.layout_of import bind, flat_weights, layer_modules
from fedmpi.learn.losses import LOSSES
from fedmpi.learn.taps import Tap
from fedmpi.plan import FULL


class TorchEngine:
    """Gradient and outputs of a module, with weights and gradient as flat float32[P] vectors.

    `weights` and `grad` are the engine's own buffers, which the module's parameters
    view. A caller who works in them spares one copy each way; any other vectors are
    copied. They are 64-byte aligned, because results of BLAS may depend on alignment,
    and must not depend on where a caller's vector happens to lie.

    A dropped row takes its normalisation with it: its BN scale and shift get no
    gradient, and its running statistics stay. The same holds below the lowest
    trained layer. Batch statistics are used all the same.

    Parameters
    ----------
    module : torch.nn.Module
        Taken over by the engine: its parameters become views, its layers are tapped.
    layout : Layout
        From `layout_of(module, sample)`.
    threads : int
        Threads of torch, for the whole process. Bits are the same for any number of
        ranks, not for any number of threads.
    """

    error = "cross-entropy"  # a key of LOSSES

    def __init__(self, module, layout, threads=1):
        torch.set_num_threads(threads)
        self.layout = layout
        self.module = module
        self._flat = flat_weights(module, layout)
        self._flat_grad = torch.zeros(layout.size)
        self.weights = self._flat.numpy()
        self.grad = self._flat_grad.numpy()
        bind(module, layout, self._flat)
        self._taps = [Tap(parts[0]) for parts in layer_modules(module, layout)]
        self._statistics = [
            slice(t.start, t.start + t.size) for t in layout.tensors if not t.trained
        ]
        self._prepare(FULL)

    def gradient(self, weights, x, y, grad, backward=FULL, activations=None, batch=None):
        """Return the mean cross-entropy (or other `error`) of one batch and fill in its gradient.

        Parameters
        ----------
        weights : float32[P]
            Only read, but for running statistics, which are updated in place.
        x : float32[N, ...]
        y : int64[N]
        grad : float32[P]
            Overwritten: the gradient; 0 for running statistics, for dropped rows and
            below the lowest trained layer.
        backward : Backward
            What is differentiated.
        activations : list of float64[rows], optional
            For each layer; |output of the convolution, linear or lone norm layer|, bias
            included and before what follows, is added up over batch and space in place.
            Left alone for layers of other kinds.
        batch : int64[n], optional
            Which of the samples make up the batch; all of them if it is not given.
        """
        x, y = (x, y) if batch is None else (x[batch], y[batch])
        if backward is not self._backward:
            self._prepare(backward)
        self._enter(weights)
        for layer, tap in enumerate(self._taps):
            tap.sums = None if activations is None else activations[layer]
        if not self.module.training:
            self.module.train()
        still = self._flat[self._still]
        loss = LOSSES[self.error](self.module(_copy(x)), _copy(y))
        self._differentiate(loss)
        self._flat[self._still] = still
        if not _same(weights, self.weights):
            for block in self._statistics:
                weights[block] = self.weights[block]
        if not _same(grad, self.grad):
            np.copyto(grad, self.grad)
        return loss.item()

    def outputs(self, weights, x):
        """Return the outputs float32[N, classes] for x float32[N, ...], in evaluation mode."""
        self._enter(weights)
        for tap in self._taps:
            tap.sums = None
        if self.module.training:
            self.module.eval()
        with torch.no_grad():
            return self.module(_copy(x)).numpy()

    def _enter(self, weights):
        if not _same(weights, self.weights):
            np.copyto(self.weights, weights)

    def _differentiate(self, loss):
        """Fill the flat gradient."""
        for view in self._untouched:
            view.zero_()
        if self._parameters:
            found = torch.autograd.grad(loss, self._parameters, allow_unused=True)
            found = [torch.zeros(()) if one is None else one for one in found]
            torch._foreach_copy_(self._views, found)
        self._flat_grad[self._silent] = 0.0

    def _prepare(self, backward):
        """Take up another Backward: flags of the parameters, rows of the taps, index lists."""
        layout = self.layout
        rows = _checked(layout, backward)
        self._parameters, self._views, self._untouched = [], [], []
        for tensor in layout.tensors:
            view = self._flat_grad[tensor.start : tensor.start + tensor.size].view(tensor.shape)
            if not tensor.trained:
                self._untouched.append(view)
                continue
            parameter = self.module.get_parameter(tensor.name)
            parameter.requires_grad_(tensor.layer >= backward.lowest)
            if parameter.requires_grad:
                self._parameters.append(parameter)
                self._views.append(view)
            else:
                self._untouched.append(view)
        for tap, keep in zip(self._taps, rows, strict=True):
            tap.keep(keep)
        self._still, self._silent = _unmoved(layout, rows, backward.lowest)
        self._backward = backward


def _checked(layout, backward):
    """Return for each layer None or bool[rows]; ValueError if they do not fit the layout."""
    rows = backward.rows or (None,) * len(layout.layers)
    if len(rows) != len(layout.layers):
        raise ValueError(f"rows of {len(rows)} layers given, the model has {len(layout.layers)}")
    for layer, keep in zip(layout.layers, rows, strict=True):
        if keep is not None and keep.shape != (layer.rows,):
            raise ValueError(f"layer {layer.name}: rows are bool{keep.shape}, not [{layer.rows}]")
    return tuple(None if keep is None or keep.all() else keep.astype(bool) for keep in rows)


def _unmoved(layout, rows, lowest):
    """Return two int64 lists of coordinates: statistics that stay, and gradients set to zero."""
    still, silent = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for tensor in layout.tensors:
        layer, keep = layout.layers[tensor.layer], rows[tensor.layer]
        if tensor.layer < lowest:
            keep = np.zeros(layer.rows, bool)
        if keep is None:
            continue
        blocks = np.arange(tensor.start, tensor.start + tensor.size).reshape(tensor.rows, -1)
        dropped = blocks[~keep].ravel() if tensor.rows == len(keep) else blocks[:0].ravel()
        # The layer's own weights get zeros from its backward pass; a joined norm does not.
        joined = tensor.name.rpartition(".")[0] != layer.name
        if not tensor.trained:
            still.append(dropped)
        elif joined or layer.kind == "embedding":
            silent.append(dropped)
    return torch.from_numpy(np.concatenate(still)), torch.from_numpy(np.concatenate(silent))


def _copy(array):
    """A torch copy of an array, aligned as torch aligns."""
    return torch.tensor(array)


def _same(one, other):
    """True if two vectors are the same memory."""
    return one.ctypes.data == other.ctypes.data
