"""Count floating-point operations, two for each multiply-add; no other module counts them."""

import numpy as np

from fedmpi.arrays import Flags, Integers, Reals
from fedmpi.layout import Layout
from fedmpi.plan import FULL, Backward, Plan

FORWARD, WEIGHT_GRADIENT, INPUT_GRADIENT = 0, 1, 2


def count(
    layout: Layout, backward: Backward = FULL, density: Reals | None = None,
    gate: Reals | None = None, samples: int = 1,
) -> Reals:
    """Return the FLOPs of training on `samples` samples once, float64[L, 3].

    Columns are forward pass, weight gradient and input gradient. Only the multiply-adds of the
    Layout's layers are counted, without biases, activations and normalisation.

    If a share r of a layer's rows is kept, both gradients are scaled by r (FedSkel). Layers below
    backward.lowest have no backward pass. The lowest layer needs no input gradient, unless its
    module is called again; nor does a layer whose input depends on no trained weight. Gradients
    through time are counted as input gradients of a recurrent layer. Frozen weights have no weight
    gradient, and a product of values has two input gradients.

    Parameters
    ----------
    layout : Layout
    backward : Backward
        The part of the gradient that is computed.
    density : float64[L], optional
        Share of non-zero weights. It scales the forward pass and the input gradient. The weight
        gradient stays dense, as in FedDIP, where pruned weights still get gradients.
    gate : float64[L], optional
        Share of a layer's multiply-adds that remains with channel gates, r_in * r_out (ADP).
        It scales all three columns.
    samples : int
        Number of samples; n for an epoch over n samples, whatever the batch size.
    """
    macs, from_data, from_itself = _each(layout, "macs", "from_data", "from_itself")
    flops = 2.0 * samples * np.stack((macs, macs, macs - from_data), axis=1)
    lowest = slice(backward.lowest, backward.lowest + 1)
    flops[lowest, INPUT_GRADIENT] = 2.0 * samples * from_itself[lowest]
    flops[: backward.lowest, WEIGHT_GRADIENT:] = 0
    flops[:, WEIGHT_GRADIENT:] *= _kept(layout, backward)[:, None]
    if density is not None:
        flops[:, [FORWARD, INPUT_GRADIENT]] *= np.asarray(density)[:, None]
    if gate is not None:
        flops *= np.asarray(gate)[:, None]
    total: Reals = flops + 2.0 * samples * _untrained(layout, backward)
    return total


def of_plan(layout: Layout, plan: Plan, seen: int, probed: int = 0, first: int = 0) -> Reals:
    """Return the FLOPs of a client's training under a Plan, float64[L, 3].

    `layout` is the Layout of the network that the client trains. The network may be a part of the
    model (Engine.part_of), but the plan's `mask` and `update` are in the network's coordinates.
    `seen` is the number of samples trained on, `first` the number in the first step, and in any
    step that readjusts the mask, and `probed` the number whose gradient was measured besides.

    A masked weight costs nothing in the forward pass and the input gradient. A weight that the
    optimiser may not move costs nothing in the weight gradient, with two exceptions: if the plan
    needs the gradient of such weights (Plan.needs_whole_gradient), and in steps that readjust the
    mask by the gradient. If running statistics follow the dense weights, each step has another
    dense forward pass.
    """
    density = None if plan.mask is None else _alive(layout, plan.mask)
    flops = count(layout, plan.backward, density, plan.gates, seen)
    if plan.update is not None and not plan.needs_whole_gradient:
        looks = 0 if plan.grow is not None else len(plan.readjust)
        whole = min(looks * first / seen, 1.0) if seen else 0.0
        flops[:, WEIGHT_GRADIENT] *= whole + (1 - whole) * _alive(layout, plan.update)
    if plan.dense_norm and not layout.trained.all():
        flops[:, FORWARD] += forward(layout, gate=plan.gates, samples=seen)
    if probed:
        flops += count(layout, density=density, gate=plan.gates, samples=probed)
    return flops


def forward(
    layout: Layout, density: Reals | None = None, gate: Reals | None = None, samples: int = 1
) -> Reals:
    """Return the FLOPs of evaluating `samples` samples, float64[L]."""
    return count(layout, density=density, gate=gate, samples=samples)[:, FORWARD]


def thop(layout: Layout) -> Integers:
    """Return the multiply-adds of one forward pass as the tool thop counts them, int64[L].

    thop adds 4 operations for each element that a layer's BatchNorm sees. These are the "FLOPs" in
    FedLP's published table. They serve for comparison only, never as the model of cost.
    """
    return np.array(
        [
            layer.macs + 4 * _normalised(layout, number)
            for number, layer in enumerate(layout.layers)
        ],
        np.int64,
    )


def inference(layout: Layout, kept: Flags | None = None, gate: Reals | None = None) -> float:
    """Return the FLOPs of one sample's forward pass in an evaluation, a float.

    `kept` is uint8[P] or None; pruned weights cost nothing, in whatever pattern. `gate` is as in
    `count`. The layers of the gates themselves are in the layout, and are counted.
    """
    density = None if kept is None else _alive(layout, kept)
    return float(forward(layout, density, gate).sum())


def _untrained(layout: Layout, backward: Backward) -> Reals:
    """Return the multiply-adds of one sample with frozen weights or no weights, float64[L, 3]."""
    macs = np.zeros((len(layout.layers), 3))
    numbers = np.arange(len(layout.layers))
    frozen, products = _each(layout, "frozen", "products")
    macs[:, FORWARD] = frozen + products
    macs[:, INPUT_GRADIENT] = frozen * (numbers > backward.lowest)
    macs[:, INPUT_GRADIENT] += 2 * products * (numbers >= backward.lowest)
    if len(macs):
        macs[-1] += np.array([1, 0, 1]) * layout.tail
    return macs


def _each(layout: Layout, *names: str) -> list[Reals]:
    """Return a float64[L] for each of the named numbers of the layers."""
    return [np.array([getattr(a, name) for a in layout.layers], np.float64) for name in names]


def _alive(layout: Layout, mask: Flags) -> Reals:
    """Return the share of ones in uint8[P] `mask` among each layer's weights, float64[L]."""
    weights = [layout.tensors[tensors[0]] for tensors in layout.layer_tensors]
    return np.array([mask[t.block].mean() for t in weights])


def _kept(layout: Layout, backward: Backward) -> Reals:
    """Return the share of each layer's rows that the backward pass keeps, float64[L]."""
    rows = backward.rows or (None,) * len(layout.layers)
    return np.array(
        [1.0 if keep is None else np.count_nonzero(keep) / keep.size for keep in rows], np.float64
    )


def _normalised(layout: Layout, number: int) -> int:
    """Return the number of elements that a layer's BatchNorm sees in one sample, 0 without one."""
    tensors = [layout.tensors[t] for t in layout.layer_tensors[number]]
    if all(tensor.trained for tensor in tensors):
        return 0
    # Each output element takes one multiply-add for each weight of its row.
    return layout.layers[number].macs // (tensors[0].size // tensors[0].rows)
