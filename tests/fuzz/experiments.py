"""Whole experiments drawn at random: methods, models, engines, stages, devices and schedules.

Many are refused for what does not go together; `experiment` draws until one is not.
"""

import random
from typing import Any, Literal, get_args, get_origin

from fedmpi.algorithms import ALGORITHMS
from fedmpi.comm.base import Serial
from fedmpi.errors import FedmpiError
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import of_tree
from fedmpi.selectors import SELECTORS
from tests.algorithms.problem import HERE
from tests.algorithms.test_contract import KEYS, NAMES

ROUNDS = 6
MODELS = (
    {"name": HERE + "convs"}, {"name": HERE + "plain"}, {"name": "mlp", "hidden": [16, 8]},
    {"name": "softmax"}, {"name": "lenet5"}, {"name": "tests.twins.net:levels"},
    {"name": "vit-tiny", "width": 16, "depth": 1, "heads": 2, "patch": 4},
)  # fmt: skip
PARTITIONS = (
    {"partition": "iid"}, {"partition": "dirichlet", "alpha": 0.3}, {"partition": "shards"},
    {"partition": "quantity"}, {"partition": "pathological", "classes_per_client": 2},
)  # fmt: skip
LOSSES = ("softmax-quadratic", "sigmoid-linear", "sigmoid-quadratic")
SUMS = ("shared", "allgatherv", "halving", "split", "dsar", "dense", "node+halving", "node+split")


def experiment(number: int | str) -> dict[str, Any]:
    """Return the sections of the experiment of this number; it is not refused."""
    rng = random.Random(number)
    while True:
        tree = _tree(rng)
        try:
            assemble(of_tree(tree), Serial(), None)
        except FedmpiError:
            continue
        return tree


def _tree(rng):
    """Return sections that may not go together."""
    name = rng.choice(NAMES)
    model = "tests.twins.net:levels" if name == "fedlp-hetero" else ""
    tree = {
        "run": _run(rng),
        "data": {"name": "digits", **rng.choice(PARTITIONS)},
        "clients": _clients(rng),
        "model": {"name": model} if model else dict(rng.choice(MODELS)),
        "optimizer": _optimizer(rng),
        "algorithm": {"name": name} | _keys(rng, name),
        "stage": list(_stages(rng)),
        "schedule": _schedule(rng),
        "collective": {"overlap": rng.choice(("auto", "off", "on"))},
    }
    if rng.random() < 0.2:
        tree["data"]["augment"] = "crop-flip"
    if rng.random() < 0.1:
        tree["model"]["loss"] = rng.choice(LOSSES)
    if rng.random() < 0.3:
        optimizers = ("sgd", "adam", "yogi", "adagrad")
        tree["server"] = {"optimizer": rng.choice(optimizers), "lr": 0.1}
    if rng.random() < 0.5:
        tree["collective"]["algorithm"] = rng.choice(SUMS)
    if rng.random() < 0.2:
        tree["network"] = {"codec": rng.choice(("float16", "bfloat16"))}
    if rng.random() < 0.6:
        tree["devices"] = _devices(rng)
    return tree


def _run(rng):
    engine = rng.choice(("auto", "kernels", "torch", "batched", "batched", "debug"))
    run = {"rounds": ROUNDS, "seed": rng.randrange(1000), "engine": engine}
    run |= {"eval_every": rng.choice((1, 2)), "own_models": rng.choice((0, 3, 100))}
    run |= {"memory_mb": rng.choice((1, 1024))}
    if engine == "batched":
        run |= {"chunk": rng.choice((1, 2, 5)), "precision": rng.choice(("float32", "bfloat16"))}
    return run


def _clients(rng):
    number, rules = rng.choice((7, 12, 20)), ("uniform", "uniform", *sorted(SELECTORS))
    steps = {"local_steps": rng.choice((1, 3))} if rng.random() < 0.5 else {}
    return steps | {
        "number": number,
        "per_round": rng.choice((1, 3, 5, number)),
        "selection": rng.choice(rules),
        "batch_size": rng.choice((1, 3, 8, 16, "all")),
        "weighting": rng.choice(("samples", "uniform")),
    }


def _optimizer(rng):
    more = {"weight_decay": rng.choice((0.0, 1e-3)), "lr_decay": rng.choice((1.0, 0.9))}
    if rng.random() < 0.3:
        return more | {"name": "adam", "lr": 0.003}
    return more | {"lr": 0.03, "momentum": rng.choice((0.0, 0.5))}


def _keys(rng, name):
    """Keys with which a method acts within a few rounds, and some of its choices at random."""
    keys = dict(KEYS.get(name, {}))
    for key, field in ALGORITHMS[name].Keys.model_fields.items():
        kind = field.annotation
        choices = (True, False) if kind is bool else ()
        if get_origin(kind) is Literal:
            choices = get_args(kind)
        if choices and key not in keys and rng.random() < 0.5:
            keys[key] = rng.choice(choices)
    return keys


def _stages(rng):
    feedback = rng.random() < 0.5
    drawn = (
        (0.25, {"name": "clip", "norm": 0.5}),
        (0.2, {"name": "topk", "share": 0.2, "feedback": feedback}),
        (0.2, {"name": "quantise", "bits": rng.choice((4, 8)), "feedback": feedback}),
        (0.2, {"name": "gaussian", "multiplier": 0.01, "norm": 0.5,
               "at": rng.choice(("server", "client"))}),
    )  # fmt: skip
    yield from (stage for chance, stage in drawn if rng.random() < chance)
    if rng.random() < 0.1:
        yield {"name": "secure", "neighbours": rng.choice((2, 8))}
    elif rng.random() < 0.1:
        yield {"name": "compress", "bound": 0.01, "feedback": feedback}


def _schedule(rng):
    mode = rng.choice(("sync", "deadline", "async"))
    if mode == "deadline":
        over = rng.choice((1.0, 1.5))
        return {"mode": mode, "deadline_s": rng.choice((0.15, 0.3, 1.0)), "over_select": over}
    if mode == "async":
        return {"mode": mode, "buffer_size": rng.choice((1, 2, 4)),
                "max_staleness": rng.choice((0, 1, 5))}  # fmt: skip
    return {"mode": mode}


def _devices(rng):
    devices = {
        "profile": rng.choice(("uniform", "tiers", "mobile", "phones", "boards")),
        "availability": rng.choice((1.0, 0.8, 0.3)),
        "dropout": rng.choice((0.0, 0.2)),
        "jitter": rng.choice((0.0, 0.3)),
        "policy": rng.choice(("fixed", "fixed", "speed", "fit-deadline", "fit-memory")),
        "knob": rng.choice(("method", "steps")),
        "memory_mb": 5.0,
    }
    if rng.random() < 0.3:
        devices["trace"] = rng.choice(("nights", "on-off"))
    if rng.random() < 0.3:
        devices |= {"power_w": 3.0, "idle_w": 1.0, "joule_per_mb": 2.0, "carbon_g_per_kwh": 100.0}
    return devices
