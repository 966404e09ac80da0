"""Benchmarks of the training engine: whole steps, skeleton backward passes, the update.

Arms that are compared take turns in one process, with one thread each. The ratio of CPU times is
taken for each turn, so that slower or faster phases of the machine affect both arms.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import process_time
from typing import TypeAlias

import numpy as np

from fedmpi import kernels, sparsity
from fedmpi.arrays import AnyArray, Integers, Reals, Vector
from fedmpi.layout import Layout, Support
from fedmpi.learn import eager
from fedmpi.learn.fast.kernel_gradients import KernelGradients
from fedmpi.learn.fast.step import Call
from fedmpi.learn.layout_of import layout_of
from fedmpi.learn.models import build
from fedmpi.learn.steps import edges_of
from fedmpi.plan import FULL, Backward
from fedmpi.rng import rng_for

Shape: TypeAlias = tuple[int, ...]
Once: TypeAlias = Callable[[], object]
"""A function that runs the code to be timed once."""
# (model, input, least ratio of a whole step to torch eager at batch 32)
STEPS: tuple[tuple[str, Shape, float], ...] = (
    ("lenet5", (1, 28, 28), 3.0),
    ("fedskel-mnist", (1, 28, 28), 1.3),
    ("fedskel-cifar", (3, 32, 32), 1.3),
    ("fedlp-cnn", (3, 32, 32), 1.3),
    ("fedskel-mlp", (1, 28, 28), 1.0),
    ("resnet20", (3, 32, 32), 1.0),
    ("vgg11", (3, 32, 32), 1.0),
    ("resnet18", (3, 32, 32), 1.0),
)
SKELETONS = tuple((name, shape) for name, shape, _ in STEPS[:3])
RATIOS = (0.5, 0.25, 0.1)
MASKED = tuple((name, shape) for name, shape, _ in (STEPS[0], STEPS[1], STEPS[4]))
# (density, least ratio of a step under a static mask to the dense one)
DENSITIES = ((0.2, None), (0.1, 1.0), (0.05, 1.4), (0.01, 2.0))
BATCH = 32  # samples of a step
STREAK, MOST_RUNS = 0.01, 16  # CPU seconds, and most runs, of an arm in a row


@dataclass(frozen=True)
class Row:
    """One comparison: milliseconds of the arm (fastest turn) and its ratio to the other arm.

    `low` and `high` are the 10th and 90th percentile of the ratio over the turns; `bar` is the
    least ratio promised, or None.
    """

    name: str
    milliseconds: float
    ratio: float
    low: float
    high: float
    bar: float | None


def steps(
    models: Sequence[tuple[str, Shape, float]] = STEPS, turns: int = 30
) -> list[Row]:
    """Return a Row per model: a whole training step of the kernels against torch eager."""
    rows = []
    for name, shape, bar in models:
        engine, module, x, y = setting(name, shape, BATCH)
        arms = step_of(engine, x, y), eager.step(module, x, y, 1e-6, 0.9)
        rows.append(_row(f"step {name} batch {BATCH}", arms, turns, bar))
    return rows


def skeletons(
    models: Sequence[tuple[str, Shape]] = SKELETONS, turns: int = 50
) -> list[Row]:
    """Return a Row per model and kept ratio: back-prop of all convolutions against the best dense.

    The best dense path takes for each layer the faster of these kernels without dropped rows and
    oneDNN. The bar is 0.6 / q, where q is the share of the multiply-adds in rows that are kept.
    """
    rows = []
    for name, shape in models:
        engine, module, x, y = setting(name, shape, BATCH)
        engine.gradient(engine.weights, x, y, engine.grad)
        best = _best_dense(engine, module, x, turns)
        for ratio in RATIOS:
            backward = skeleton(engine.layout, ratio)
            kept = [rows_.mean() for rows_ in backward.rows or () if rows_ is not None]
            bar = 0.6 / _share(engine.layout, backward)
            arms = _all(_convolutions(engine, BATCH, backward)), _all(best)
            label = f"back-prop {name} r {ratio} (kept {min(kept):.2f} to {max(kept):.2f})"
            rows.append(_row(label, arms, turns, bar))
    return rows


def skeleton_steps() -> list[Row]:
    """Return two Rows for a large network: back-prop of its convolutions, and the whole step."""
    name, shape, ratio, turns = "resnet18", (3, 32, 32), 0.1, 5
    engine, module, x, y = setting(name, shape, BATCH)
    engine.gradient(engine.weights, x, y, engine.grad)
    backward = skeleton(engine.layout, ratio)
    arms = _all(_convolutions(engine, BATCH, backward)), _all(_best_dense(engine, module, x, turns))
    dense = step_of(engine, x, y), eager.step(module, x, y, 1e-6, 0.9)
    best = dense[int(times(dense, turns).min(axis=0).argmin())]
    whole = step_of(engine, x, y, backward), best
    return [
        _row(f"back-prop {name} r {ratio}", arms, turns, 5.52),
        _row(f"step {name} r {ratio} against the best dense", whole, turns, 1.82),
    ]


def masks(
    models: Sequence[tuple[str, Shape]] = MASKED,
    densities: Sequence[tuple[float, float | None]] = DENSITIES, turns: int = 30,
) -> list[Row]:
    """Return two Rows per model and density: 10 steps under a mask against 10 dense steps.

    "static": only kept weights get a gradient; "pruned point": all weights do, as in FedDIP. Each
    arm has its own engine; otherwise the state left by the other arm would have to be cleared.
    """
    rows = []
    for name, shape in models:
        engine, _, x, y = setting(name, shape, BATCH)
        weights, tensors = engine.weights.copy(), sparsity.prunable(engine.layout)
        dense = _all([step_of(setting(name, shape, BATCH)[0], x, y)] * 10)
        for density, bar in densities:
            rng = rng_for(0, "bench masks")
            mask = sparsity.random_mask(engine.layout, tensors, [density] * len(tensors), rng)
            for kind, update, least in (("static", mask, bar), ("pruned point", None, None)):
                engine.weights[:] = weights * mask
                few = _all([step_of(engine, x, y, Backward(mask=mask, update=update))] * 10)
                label = f"10 steps {name} density {density:g}, {kind}"
                rows.append(_row(label, (few, dense), turns, least))
    return rows


def updates() -> list[Row]:
    """Return a Row per size: SGD with momentum in one pass against the time to copy its bytes."""
    rows = []
    for size in (61_706, 4_000_000):
        weights, grad, velocity, reference = np.zeros((4, size), np.float32)
        mask, source = np.ones(size, np.uint8), np.zeros(21 * size // 8, np.float32)
        edges = edges_of(mask)
        target = np.zeros_like(source)

        def update(
            arrays: tuple[AnyArray, ...] = (weights, grad, velocity, reference, mask, edges)
        ) -> None:
            kernels.update.sgd(*arrays, 0.1, 0.9, 1e-4, 0.0)

        def copy(target: Vector = target, source: Vector = source) -> None:
            np.copyto(target, source)

        rows.append(_row(f"sgd {size}", (update, copy), 30, None))
    return rows


def skeleton(layout: Layout, ratio: float) -> Backward:
    """Return the Backward that keeps `ratio` of the rows of each convolution, at least one."""
    rng = rng_for(0, "bench", 0, 0)
    rows = [
        rng.permutation(layer.rows) < max(1, round(ratio * layer.rows))
        if layer.kind == "conv"
        else None
        for layer in layout.layers
    ]
    return Backward(tuple(rows))


def step_of(
    engine: KernelGradients, x: Vector, y: Integers, backward: Backward = FULL,
    activations: list[Reals] | None = None,
) -> Once:
    """Return a function that does one training step: gradient and SGD with momentum.

    `activations` are as for `Gradients.gradient`.
    """
    velocity, mask = np.zeros_like(engine.grad), np.ones(engine.layout.size, np.uint8)
    if backward.rows is not None:
        mask = Support.of_rows(engine.layout, backward.rows).mask()
    if backward.update is not None:
        mask = backward.update
    edges = edges_of(mask)

    def once() -> None:
        engine.gradient(engine.weights, x, y, engine.grad, backward, activations)
        kernels.update.sgd(
            engine.weights, engine.grad, velocity, engine.grad, mask, edges, 1e-6, 0.9, 0.0, 0.0
        )

    return once


def setting(
    name: str, shape: Shape, batch: int
) -> tuple[KernelGradients, eager.Module, Vector, Integers]:
    """Set torch to one thread, and return (engine, module, x, y) of a model on random samples."""
    eager.one_thread()
    module = build(name, shape, 10, {}, 0)
    layout = layout_of(module, np.zeros((1, *shape), np.float32))
    rng = rng_for(0, "bench", 0, 1)
    x = rng.standard_normal((batch, *shape), dtype=np.float32)
    engine = KernelGradients.of(module, layout, shape, batch)
    return engine, module, x, rng.integers(0, 10, batch)


def _convolutions(engine: KernelGradients, batch: int, backward: Backward) -> list[Once]:
    """Return for each convolution a function that runs its backward calls."""
    calls = engine.backward_calls(batch, backward)
    layers = [number for number, layer in enumerate(engine.layout.layers) if layer.kind == "conv"]
    inner = (kernels.conv.mix, kernels.conv.correlate, kernels.conv.row_sums)
    return [
        _run([call for call in calls if call.layer == layer and call.kernel in inner])
        for layer in layers
    ]


def _best_dense(
    engine: KernelGradients, module: eager.Module, x: Vector, turns: int
) -> list[Once]:
    """Return for each convolution the faster of two functions: own kernels, oneDNN."""
    own = _convolutions(engine, len(x), FULL)
    other = eager.convolution_backwards(module, x)
    pairs = list(zip(own, other, strict=True))
    return [pair[int(times(pair, turns).min(axis=0).argmin())] for pair in pairs]


def _share(layout: Layout, backward: Backward) -> float:
    """Return the share of the convolutions' dense multiply-adds that is in kept rows."""
    pairs = [
        (layer.macs, float(rows.mean()))
        for layer, rows in zip(layout.layers, backward.rows or (), strict=True)
        if rows is not None
    ]
    return sum(macs * share for macs, share in pairs) / sum(macs for macs, _ in pairs)


def _run(calls: Sequence[Call]) -> Once:
    def once() -> None:
        for kernel, arguments, _ in calls:
            kernel(*arguments)

    return once


def _all(functions: Sequence[Once]) -> Once:
    def once() -> None:
        for function in functions:
            function()

    return once


def times(arms: Sequence[Once], turns: int, most: float = math.inf) -> Reals:
    """Return float64[turns, arms]: the CPU seconds of each arm, after two runs to warm up.

    In a turn each arm runs several times in a row, as steps do in training; a step right after
    another arm would find the caches full of that arm's data. After 3 turns, no turn is begun that
    would not fit into `most` seconds.
    """
    once = [1] * len(arms)
    taken = [_turn(arms, once) for _ in range(2)]
    runs = [min(MOST_RUNS, math.ceil(STREAK / max(seconds, 1e-6))) for seconds in taken[-1]]
    turns = int(min(turns, max(3, most / np.dot(taken[-1], runs))))
    return np.array([_turn(arms, runs) for _ in range(turns)])


def _turn(arms: Sequence[Once], runs: Sequence[int]) -> list[float]:
    """Return the CPU seconds per run of each arm, which runs runs[i] times in a row."""
    found = []
    for arm, count in zip(arms, runs, strict=True):
        began = process_time()
        for _ in range(count):
            arm()
        found.append((process_time() - began) / count)
    return found


def _row(name: str, arms: Sequence[Once], turns: int, bar: float | None) -> Row:
    """Return the Row that compares the first arm with the second."""
    taken = times(arms, turns)
    low, middle, high = np.percentile(taken[:, 1] / taken[:, 0], (10, 50, 90))
    return Row(name, 1e3 * taken[:, 0].min(), middle, low, high, bar)
