"""Every mechanism of a Plan, by every engine that declares it, against the debug engine."""

from dataclasses import replace

import numba
import numpy as np
import pytest
from torch import nn

from fedmpi.errors import ClientError, ConfigError
from fedmpi.exchange import Failure, Job
from fedmpi.layout import Support
from fedmpi.learn.engine import ENGINES, ClientData, OnDevice
from fedmpi.learn.engines import engine_for
from fedmpi.learn.local import Local
from fedmpi.learn.losses import OF_CLASSES
from fedmpi.learn.models.parts import Residual
from fedmpi.learn.partitions.partition import Partition
from fedmpi.learn.sample_arrays import Samples
from fedmpi.plan import MECHANISMS, STATISTICS, Backward, Own, Plan, Submodel

SHAPE, CLASSES = (2, 6, 6), 4
LOCAL = Local(epochs=2, steps=None, batch_size=7, optimizer="sgd", lr=0.1, lr_decay=0.9,
              momentum=0.5, weight_decay=1e-2)  # fmt: skip
OTHERS = ["torch", "batched", "stacked", *([] if numba.config.DISABLE_JIT else ["kernels"])]
STACKED = OnDevice(stacked=True, chunk=3)  # the batched engine with all clients in one operation


def chain(head=6):
    """Convolution, normalisation and linear layers; a private head may be of another size."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(20, head), nn.ReLU(),
        nn.Linear(head, CLASSES),
    )  # fmt: skip


def residual():
    body = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3))
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), Residual(body, nn.Identity()), nn.Flatten(),
        nn.Linear(48, CLASSES),
    )  # fmt: skip


def groups():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 4, 3),
        nn.LayerNorm((4, 2, 2)), nn.ReLU(), nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, CLASSES),
    )  # fmt: skip


def seeded(build, **options):
    """Return a module with weights that depend on its shape alone."""
    module, rng = build(**options), np.random.default_rng(3)
    for values in module.parameters():
        drawn = rng.standard_normal(values.shape) * (0.4 if values.dim() > 1 else 0.1)
        values.data.copy_(values.new_tensor(drawn))
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
            part.weight.data += 1
    return module


def engine(name, build=chain, local=LOCAL, **how):
    """Return the engine of that name, for two clients of 17 and 5 samples."""
    how |= {"on": STACKED} if name == "stacked" else {}
    name = "batched" if name == "stacked" else name
    rng = np.random.default_rng(5)
    x = rng.standard_normal((22, *SHAPE)).astype(np.float32)
    samples = Samples(x, rng.integers(0, CLASSES, 22))
    partition = Partition(rng.permutation(22), np.array([0, 17, 22]))
    data = ClientData(samples, partition, local, seed=11)
    return engine_for(lambda options: seeded(build, **options), x[:1], data, name, **how)


def plan_of(layout, **mechanisms):
    return Plan(Support.all(layout), Support.all(layout), **mechanisms)


def some(layout, seed, share=0.6):
    """Return uint8[P]: about `share` of the weights of more than one axis, and all others."""
    mask, rng = np.ones(layout.size, np.uint8), np.random.default_rng(seed)
    for tensor in layout.tensors:
        if len(tensor.shape) > 1:
            mask[tensor.block] = rng.random(tensor.size) < share
    return mask


def rows(layout):
    """Return bool[rows] for each layer, a part of the rows of all but the last."""
    return (*(np.arange(layer.rows) % 3 != 1 for layer in layout.layers[:-1]), None)


def narrow(layout, divisor=1.0):
    kept = [*rows(layout)[:-1], np.ones(layout.layers[-1].rows, bool)]
    return Submodel(rows=tuple(keep.tobytes() for keep in kept), divisor=divisor)


HEAD = Submodel(options=(("head", 3),), shared=72 + 4 + 4 * 4 + 80 + 5)
# For each mechanism: the fields of a plan that uses it.
PLANS = {
    "backward.rows": lambda at: {"backward": Backward(rows(at))},
    "backward.lowest": lambda at: {"backward": Backward(lowest=1)},
    "start": lambda at: {"start": np.linspace(-0.3, 0.3, at.size, dtype=np.float32)},
    "private": lambda at: {"submodel": HEAD, "private": np.linspace(-0.3, 0.3, 79, dtype="f4")},
    "submodel.rows": lambda at: {"submodel": narrow(at)},
    "submodel.options": lambda at: {"submodel": HEAD},
    "proximal": lambda at: {"proximal": 0.7},
    "mask": lambda at: {"mask": some(at, 1)},
    "update": lambda at: {"update": some(at, 2)},
    "scores": lambda at: {"scores": np.cos(np.arange(at.size, dtype="f4")), "update": some(at, 2)},
    "power": lambda at: {"power": 1.5, "tensors": (0, 6)},
    "importance": lambda at: {"importance": 0.2, "tensors": (0, 6), "mask": some(at, 1)},
    "dense_norm": lambda at: {"mask": some(at, 1), "dense_norm": True},
    "control": lambda at: {"control": 0.1 * at.trained * np.cos(np.arange(at.size, dtype="f4"))},
    "penalty": lambda at: {"penalty": 0.05, "tensors": (0, 6), "by_row": True},
    "penalised": lambda at: PLANS["penalty"](at) | {"penalised": some(at, 3)},
    "threshold": lambda at: {"threshold": 0.1, "tensors": (0, 6)},
    "readjust": lambda at: {
        "mask": some(at, 1), "update": some(at, 1), "tensors": (0, 6), "readjust": ((1, 0.3),),
        "statistics": ("mask",),
    },
    "grow": lambda at: PLANS["readjust"](at) | {
        "readjust": ((2, 0.3), (4, 0.2)), "grow": START(at)},
    "reallocate": lambda at: PLANS["readjust"](at) | {"readjust": ((2, 0.5),), "reallocate": True},
    "signs": lambda at: PLANS["reallocate"](at) | {
        "portions": (0.75, 0.9), "signs": np.round(np.sin(np.arange(at.size, dtype="f4"))),
    },
    "salient": lambda at: {"salient": 0.4, "tensors": (0, 6), "statistics": ("moved",)},
    "submodel.divisor": lambda at: {"submodel": narrow(at, 0.6), "statistics": ("activations",)},
    "labels": lambda at: {"labels": np.arange(CLASSES) != 1},
    "clip": lambda at: {"clip": 0.3},
    "probes": lambda at: {"probes": 2, "statistics": ("gradient", "curvature")},
    "gates": lambda at: {"gates": np.ones(len(at.layers))}, "steps": lambda at: {"steps": 3},
    **{f"error.{name}": lambda at, name=name: {"error": name} for name in OF_CLASSES},
    **{
        f"statistics.{name}": lambda at, name=name: {"statistics": (name,)}
        for name in STATISTICS if name not in ("mask", "curvature")
    },
    "statistics.curvature": lambda at: {"statistics": ("gradient", "curvature")},
}  # fmt: skip
PLANS["statistics.mask"] = PLANS["readjust"]
# Some mechanisms meet in one plan.
TOGETHER = {
    "a fixed mask": lambda at: {
        "mask": some(at, 1, 0.1), "update": some(at, 1, 0.1), "start": some(at, 1, 0.1) * START(at),
        "statistics": ("relevance", "activations"),
    },
    "penalty, control and pull under a mask": lambda at: {
        **PLANS["penalty"](at), **PLANS["control"](at), "mask": some(at, 1), "proximal": 0.3,
    },
    "rows and masks": lambda at: {
        "backward": Backward(rows(at), lowest=1), "mask": some(at, 1), "update": some(at, 2),
        "statistics": ("relevance", "squares", "gradient"),
    },
    "dense statistics of rows": lambda at: PLANS["dense_norm"](at) | PLANS["backward.rows"](at),
    "clipped": lambda at: {k: some(at, 1, 0.1) for k in ("mask", "update")} | {"clip": 0.3},
    "measured in a narrow network": lambda at: {
        "submodel": narrow(at), "statistics": ("relevance", "activations", "columns", "gradient"),
    },
    "a mask that nobody asks for": lambda at: PLANS["readjust"](at) | {"statistics": ()},
    "powers under a mask": lambda at: PLANS["power"](at) | PLANS["importance"](at),
    **{f"{name} measured": lambda at, name=name: PLANS[name](at) | {
        "statistics": ("gradient", "columns")} for name in ("power", "scores")},
    "no steps": lambda at: {"steps": 0, "statistics": ("gradient", "columns")},
}  # fmt: skip


def START(layout):
    return np.cos(np.arange(layout.size, dtype=np.float32)) / 2


def reports(engine, plan, jobs=((0, 2), (1, 0))):
    """Train the clients (client, round) of `jobs`, one after another, under one plan."""
    state = {"weights": engine.initial_weights}
    return list(engine.train(Job(c, r, state, plan, 0.5) for c, r in jobs))


def compare(found, wanted):
    """Equal up to rounding."""
    for mine, theirs in zip(found, wanted, strict=True):
        told = "client samples seen steps lr probed"
        assert all(getattr(mine, name) == getattr(theirs, name) for name in told.split())
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-4, abs=1e-6)
        close(mine.weights, theirs.weights)
        assert (mine.private is None) == (theirs.private is None)
        if mine.private is not None:
            close(mine.private, theirs.private)
        assert mine.statistics.keys() == theirs.statistics.keys()
        for name, values in mine.statistics.items():
            other = theirs.statistics[name]
            if isinstance(values, list):
                assert [len(part) for part in values] == [len(part) for part in other]
                # Together: what is 0 but for rounding in one layer is small beside the others.
                values, other = np.concatenate(values), np.concatenate(other)
            close(values, other, 1e-3)


def close(found, wanted, rtol=1e-4):
    assert found.shape == wanted.shape
    scale = np.abs(np.asarray(wanted, np.float64)).max(initial=1e-3)
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=1e-5 * scale)


def test_every_mechanism_is_tried():
    errors = {f"error.{name}" for name in OF_CLASSES}
    assert set(PLANS) == MECHANISMS | errors == ENGINES["debug"].mechanisms
    layout = engine("debug").layout
    for name, made in PLANS.items():
        assert name in plan_of(layout, **made(layout)).mechanisms


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("mechanism", [*PLANS, *TOGETHER])
@pytest.mark.parametrize("name", OTHERS)
def test_an_engine_does_what_the_debug_engine_does(name, mechanism, optimizer):
    momentum = 0.5 if optimizer == "sgd" else 0.0
    # Adam divides by the gradient's size, so rounding counts where a gradient is next to nothing.
    lr = LOCAL.lr if optimizer == "sgd" else 1e-3
    local = replace(LOCAL, optimizer=optimizer, momentum=momentum, lr=lr)
    mine, debug = engine(name, local=local), engine("debug", local=local)
    plan = plan_of(mine.layout, **(PLANS | TOGETHER)[mechanism](mine.layout))
    if not plan.mechanisms <= mine.mechanisms:
        with pytest.raises(ConfigError, match=rf"{mine.name}.*{mechanism}.*use .*'debug'"):
            reports(mine, plan)
        return
    compare(reports(mine, plan), reports(debug, plan))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("build", [residual, groups])
@pytest.mark.parametrize(
    "mechanism", ["backward.rows", "control", "statistics.relevance", "statistics.activations"]
)
def test_other_networks_are_trained_alike(name, build, mechanism):
    mine, debug = engine(name, build), engine("debug", build)
    plan = plan_of(mine.layout, **PLANS[mechanism](mine.layout))
    compare(reports(mine, plan), reports(debug, plan))


@pytest.mark.parametrize("name", OTHERS)
def test_own_models_and_outputs_are_those_of_the_debug_engine(name):
    mine, debug = engine(name), engine("debug")
    x, _ = mine.data.samples.take(np.arange(9))
    weights = START(mine.layout)
    close(mine.outputs(weights, x), debug.outputs(weights, x))
    assert mine.accuracy(0, weights) == debug.accuracy(0, weights)
    for own in (Own(weights), Own(weights, HEAD), Own(weights, narrow(mine.layout))):
        close(mine.own_outputs(own, x), debug.own_outputs(own, x))
        assert mine.layout_of(own.submodel) == debug.layout_of(own.submodel)
    index = np.arange(22)
    assert mine.right_answers(own, mine.data.samples, index) == debug.right_answers(
        own, debug.data.samples, index
    )


@pytest.mark.parametrize("name", [*OTHERS, "debug"])
def test_the_order_of_jobs_does_not_matter_and_each_is_asked_for_when_it_is_due(name):
    made = engine(name)
    plan = plan_of(made.layout, **PLANS["statistics.relevance"](made.layout))
    mask = plan_of(made.layout, **PLANS["mask"](made.layout))
    state, asked = {"weights": made.initial_weights.copy()}, []

    def jobs(*order):
        for client, plan in order:
            asked.append(client)
            yield Job(client, 1, state, plan, 0.5)

    first = list(made.train(jobs((0, plan), (1, mask))))
    again = list(made.train(jobs((1, mask), (0, plan))))
    for one, other in zip(first, reversed(again), strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
        assert one.loss == other.loss
    asked.clear()
    coming = made.train(jobs((0, plan), (1, mask)))
    next(coming)
    assert asked == ([0, 1] if made.name == "batched" else [0])
    np.testing.assert_array_equal(state["weights"], made.initial_weights)


@pytest.mark.parametrize("name", [*OTHERS, "debug"])
def test_what_numbers_bring_about_is_a_failure_with_its_reason(name):
    class Fault(Exception):
        pass

    calls = iter([ClientError("too large"), None, FloatingPointError("overflow"), Fault])

    def on_step():
        fault = next(calls)
        if fault is not None:
            raise fault

    local = replace(LOCAL, epochs=None, steps=1)
    made = engine(name, local=local, on_step=on_step)
    found = reports(made, plan_of(made.layout), [(0, 0), (1, 0), (1, 0)])
    assert found[0] == Failure(0, "too large") and found[2] == Failure(1, "overflow")
    assert found[1].steps == 1
    with pytest.raises(Fault):
        reports(made, plan_of(made.layout), [(0, 0)])
