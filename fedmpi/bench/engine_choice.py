"""Compare both engines by model and batch size, and check the choice of "auto".

Arms take turns on one thread, and CPU time is measured, so that a busy machine has little effect.
The result is a dict for JSON:

    machine     processor, instruction sets, cores, load
    models      a row per model and batch: milliseconds of a whole training step of both engines,
                torch's time over that of the kernels with its spread, the choice of "auto", and
                its speed over that of the better engine
    pruning     a row per method: its speed over that of the best dense step, and whose step it is
    bars        promised limits
"""

import os
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from fedmpi import kernels
from fedmpi.arrays import Reals
from fedmpi.bench import kernels_net as net
from fedmpi.bench.measure import Bar, Found, Say, judged, plain
from fedmpi.learn import eager
from fedmpi.learn.fast.rule import choose

Cell: TypeAlias = tuple[str, tuple[int, ...], tuple[int, ...], Mapping[int, float]]
# (model, input, batches, {batch: least ratio with AVX2})
SMALL, LARGE = (1, 2, 8, 10, 16, 20, 32, 50, 64, 128), (1, 5, 10, 16, 20, 32, 50, 64)
MODELS: tuple[Cell, ...] = (
    ("lenet5", (1, 28, 28), SMALL, dict.fromkeys((16, 32, 64), 4.0)),
    ("lenet5", (3, 32, 32), SMALL, {}),
    ("fedskel-mnist", (1, 28, 28), SMALL, dict.fromkeys((16, 32, 64), 2.0)),
    ("fedskel-cifar", (3, 32, 32), SMALL, dict.fromkeys((16, 32, 64), 2.0)),
    ("fedskel-mlp", (1, 28, 28), SMALL, {}),
    ("fedlp-cnn", (3, 32, 32), LARGE, dict.fromkeys((16, 32, 64), 1.2)),
    ("resnet20", (3, 32, 32), LARGE, {}),
    ("vgg11", (3, 32, 32), (1, 5, 10, 20, 32, 50, 64), {}),
    ("resnet18", (3, 32, 32), (10, 20, 32), {}),
)
LEAST = 0.97  # least speed of the choice of "auto" over the better engine's
SKELETONS = net.SKELETONS  # of one cycle of FedSkel
CYCLE = 4  # rounds; one of them sets the skeletons
TURNS, SECONDS = 25, 1.0  # the most turns and CPU seconds of a cell


def run(machine: Found, quick: bool = False, say: Say = lambda text: None) -> Found:
    """Measure everything, or with `quick` a small part; return the dict above.

    `machine` is from `environment.described`.
    """
    machine = machine | {"vector_width": kernels.lanes.WIDTH, "torch": eager.instructions()}
    rows: list[Found] = []
    bars: list[Bar] = []
    for name, shape, batches, least in MODELS[:1] if quick else MODELS:
        side = "x".join(map(str, shape))
        say(f"{name} on {side}")
        for batch in batches[-2:-1] if quick else batches:
            row = compared(name, shape, batch, 0.1 if quick else SECONDS)
            rows.append({"model": f"{name} {side}", "batch": batch} | row)
            bars += _bars(rows[-1], least.get(batch))
    say("steps of pruned models")
    pruning = [cycle(*model) for model in (SKELETONS[:1] if quick else SKELETONS)]
    pruning += [] if quick else [skeleton_step()]
    bars += [Bar(row["method"], row["over_best_dense"], row.pop("bar")) for row in pruning]
    machine["load_after"] = os.getloadavg()
    found = {"machine": machine, "models": rows, "pruning": pruning}
    return dict(plain(found | {"bars": judged(bars, quick)}))


def compared(name: str, shape: tuple[int, ...], batch: int, most: float) -> Found:
    """Return a row of one model and batch: both engines, and the choice of "auto"."""
    engine, module, x, y = net.setting(name, shape, batch)
    arms = net.step_of(engine, x, y), eager.step(module, x, y, 1e-6, 0.9)
    times = net.times(arms, TURNS, most)
    low, middle, high = np.percentile(times[:, 1] / times[:, 0], (10, 50, 90))
    own, others = 1e3 * np.median(times, axis=0)
    chosen, _ = choose(module, engine.layout, shape, batch, kernels.lanes.WIDTH)
    ratio = middle if chosen == "kernels" else 1 / middle
    return {
        "kernels_ms": own, "torch_ms": others, "ratio": middle, "low": low, "high": high,
        "auto": chosen, "auto_over_best": min(1.0, ratio),
    }  # fmt: skip


def cycle(name: str, shape: tuple[int, ...]) -> Found:
    """Return a row of FedSkel: a cycle of one step that sets skeletons and steps within them."""
    ratio = 0.25
    engine, module, x, y = net.setting(name, shape, net.BATCH)
    dense = net.step_of(engine, x, y), eager.step(module, x, y, 1e-6, 0.9)
    sets = net.step_of(engine, x, y, activations=[np.zeros(n.rows) for n in engine.layout.layers])
    within = net.step_of(engine, x, y, net.skeleton(engine.layout, ratio))
    times = net.times((sets, within, *dense), TURNS, 2 * SECONDS)
    taken = (times[:, 0] + (CYCLE - 1) * times[:, 1]) / CYCLE
    return _over_best(f"FedSkel {name} r {ratio} over FedAvg", taken, times[:, 2:], 1.4)


def skeleton_step() -> Found:
    """Return a row of a step within a skeleton, for a large network."""
    name, shape, ratio, turns = "resnet18", (3, 32, 32), 0.1, 3
    engine, module, x, y = net.setting(name, shape, net.BATCH)
    dense = net.step_of(engine, x, y), eager.step(module, x, y, 1e-6, 0.9)
    within = net.step_of(engine, x, y, net.skeleton(engine.layout, ratio))
    times = net.times((within, *dense), turns)
    return _over_best(f"step {name} r {ratio} over dense", times[:, 0], times[:, 1:], 1.82)


def _over_best(method: str, taken: Reals, dense: Reals, bar: float) -> Found:
    best = int(np.median(dense, axis=0).argmin())
    low, middle, high = np.percentile(dense[:, best] / taken, (10, 50, 90))
    return {
        "method": method, "ms": 1e3 * np.median(taken), "over_best_dense": middle, "low": low,
        "high": high, "best_dense": ("kernels", "torch")[best], "bar": bar,
    }  # fmt: skip


def _bars(row: Found, least: float | None) -> list[Bar]:
    label = f"{row['model']} batch {row['batch']}"
    bars = [Bar(f"auto over the better engine, {label}", row["auto_over_best"], LEAST)]
    if least is not None:
        bars.append(Bar(f"kernels over torch, {label}", row["ratio"], least))
    return bars
