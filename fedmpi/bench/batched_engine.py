"""The batched engine beside the torch engine, and the rule of engine = "auto" that follows.

Arms are separate processes that take turns, as in round_loop.py. On a processor CPU time is
measured, so that other programs on the machine have little effect; on a GPU, wall-clock time. The
first round is start-up and the last round evaluates, so neither counts.

The result is a dict for JSON:
    machine     processor, instructions, cores, load at the beginning and at the end
    device      "cpu" or "cuda", and `gpu`, its name
    rows        for each model: model, device, ranks, clients a second of both engines and of pfl
                (only for LeNet-5; pfl uses a GPU if it finds one), over_torch, over_pfl, note
    setups      for each configuration of another program's set-up: name, seconds, note
    rule        sentences: the choice of "auto", and its reasons
    bars        name, value, kind, bound, met, note
"""

import os
from dataclasses import dataclass
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TypeAlias

import numpy as np

import fedmpi
from fedmpi.bench import environment, given
from fedmpi.bench.measure import Bar, Found, Say, judged, plain
from fedmpi.bench.others import others
from fedmpi.bench.processes import Launch
from fedmpi.bench.round_loop import LEFT_OUT
from fedmpi.errors import FedmpiError
from fedmpi.experiment import resolve
from fedmpi.learn.gpus import memories

SETTING = """
[run]
name = "bench"
seed = 1
rounds = {rounds}
eval_every = 1000000
checkpoint_every = 1000000
[data]
{data}
[clients]
number = 100
per_round = {per_round}
batch_size = 32
[model]
name = "{model}"
[optimizer]
name = "sgd"
lr = 0.01
"""
PATTERNS, CIFAR = 'name = "patterns"\nimages = {images}', 'name = "cifar10"'
# Models, and the data that they train on.
MODELS = (("lenet5", PATTERNS), ("mlp", PATTERNS), ("fedskel-cifar", CIFAR))
LARGE = (("resnet18", CIFAR),)  # minutes a round on a processor
BLAZEFL = Path(fedmpi.__file__).resolve().parents[1] / "jobs/configs/bench/blazefl.toml"
PUBLISHED = 15.0  # seconds of BlazeFL's set-up: half of its best published, on an A100
OVER_PFL = 10.0  # least speed over pfl's, on one GPU
LEAST = 0.95  # least speed over the torch engine's, on a processor


Rate: TypeAlias = tuple[float | None, str]
"""(clients a second, ""), or (None, the reason)."""


@dataclass(frozen=True)
class Size:
    """The extent of a measurement."""

    rounds: int = 5
    passes: int = 3
    per_round: int = 16
    images: int = 30_000


QUICK = Size(rounds=3, passes=1, per_round=4, images=600)


def run(
    launch: Launch, device: str, ranks: int, quick: bool = False, say: Say = lambda text: None,
    pfl: str | None = None, minutes: float = inf,
) -> Found:
    """Measure both engines, and return the dict above.

    Parameters
    ----------
    launch : Launch
    device : "cpu" or "cuda"
    ranks : int
    quick : bool
        Measure only a small part, to see that it runs.
    say : callable
        Called with a few words on what is being measured.
    pfl : str, optional
        The interpreter of an environment with pfl 0.6.0.
    minutes : float
        After this time no measurement begins; rows that were left out say so.

    Raises
    ------
    FedmpiError
        If device is "cuda" and there is no GPU.
    """
    names = memories()[1] if device == "cuda" else []
    if device == "cuda" and not names:
        raise FedmpiError(
            "bench round --device cuda: no GPU is here; use --device cpu, or a machine with one"
        )
    size, described = QUICK if quick else Size(), environment.described(launch)
    end = monotonic() + 60 * minutes
    models = MODELS[: 2 if quick else None] + (LARGE if device == "cuda" and not quick else ())
    rows = [_row(launch, device, ranks, size, *one, say, end) for one in models]
    for row in rows:
        late = monotonic() > end or row["model"] != "lenet5"
        other, why = (None, "") if late else _pfl(launch, ranks, size, pfl, say)
        mine = row["batched"]
        row |= {"pfl": other, "over_pfl": mine / other if mine and other else None}
        row["note"] = row["note"] or why
    setups = [_blazefl(launch, ranks, say, end)] if device == "cuda" and not quick else []
    described["load_after"] = os.getloadavg()
    return dict(plain({
        "machine": described,
        "device": {"kind": device, "gpu": names[0] if names else ""},
        "rows": rows,
        "setups": setups,
        "rule": rule(rows, device),
        "bars": judged(_bars(rows, setups, device), quick),
    }))  # fmt: skip


def rule(rows: list[Found], device: str) -> list[str]:
    """Return sentences: the choice of engine = "auto", and the ratios in `rows` that justify it."""
    found = {row["model"]: row["over_torch"] for row in rows if row["over_torch"]}
    shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in found.items())
    measured = [f"batched over torch, measured on {device}: {shown}"] if shown else []
    return [
        'engine = "auto" with device = "cuda": batched, for every model',
        'engine = "auto" on a processor: kernels or torch, by the model and the batch size '
        "(fedmpi/learn/fast/rule.py); batched gains too little there to justify other bits",
        *measured,
    ]


def _row(
    launch: Launch, device: str, ranks: int, size: Size, model: str, data: str, say: Say, end: float
) -> Found:
    """Measure one model with both engines in turn; after `end` no turn begins."""
    row = {"model": model, "device": device, "ranks": ranks}
    nothing = {"torch": None, "batched": None, "over_torch": None}
    seconds: dict[str, list[float]] = {"torch": [], "batched": []}
    with TemporaryDirectory(prefix="fedmpi-bench-") as folder:
        path = Path(folder, "bench.toml")
        path.write_text(_setting(size, model, data))
        try:
            for number in range(size.passes):
                if monotonic() > end:
                    break
                for engine, found in seconds.items():
                    say(f"{model}, {engine}, pass {number + 1} of {size.passes}")
                    found += _measured(launch, path, engine, device, ranks)
        except FedmpiError as error:
            return row | nothing | {"note": str(error).splitlines()[-1]}
    if not seconds["batched"]:
        return row | nothing | {"note": LEFT_OUT}
    rates = {name: size.per_round / float(np.median(found)) for name, found in seconds.items()}
    return row | rates | {"over_torch": rates["batched"] / rates["torch"], "note": ""}


def _setting(size: Size, model: str, data: str) -> str:
    return SETTING.format(
        rounds=size.rounds, per_round=size.per_round, model=model,
        data=data.format(images=size.images),
    )  # fmt: skip


def _measured(
    launch: Launch, path: Path, engine: str, device: str, ranks: int
) -> list[float]:
    """Return the seconds of the rounds that count."""
    where = device if engine == "batched" else "cpu"
    sets = [f"--set=run.engine={engine}", f"--set=run.device={where}"]
    found = launch.fedmpi(["bench", "run", path, *sets], ranks)
    kind = "cpu_seconds" if device == "cpu" and ranks == 1 else "seconds"
    return list(found[kind][1:-1])


def _pfl(launch: Launch, ranks: int, size: Size, pfl: str | None, say: Say) -> Rate:
    """Measure pfl on the same clients of LeNet-5; return (None, "") if pfl was not named."""
    if pfl is None:
        return None, ""
    say("lenet5, pfl 0.6.0")
    words = next(words for name, _, words in others(launch, ranks, pfl) if name == "pfl 0.6.0")
    if isinstance(words, str):
        return None, f"pfl 0.6.0: {words}"
    with TemporaryDirectory(prefix="fedmpi-bench-") as folder:
        text = _setting(size, "lenet5", PATTERNS)
        given.write(Path(folder), resolve.resolve(text, "bench round"), None, None)
        try:
            found = launch.run([*words, folder])
        except FedmpiError as error:
            return None, f"pfl 0.6.0: {error}".splitlines()[-1]
    return size.per_round / float(np.median(found["seconds"][1:])), ""


def _blazefl(launch: Launch, ranks: int, say: Say, end: float) -> Found:
    """Measure all rounds of BlazeFL's set-up, unless it is later than `end`."""
    row: Found = {"name": "BlazeFL's set-up", "seconds": None, "note": ""}
    if monotonic() > end:
        return row | {"note": LEFT_OUT}
    say(row["name"])
    try:
        found = launch.fedmpi(["bench", "run", BLAZEFL, "--set=run.device=cuda"], ranks)
    except FedmpiError as error:
        return row | {"note": str(error).splitlines()[-1]}
    return row | {"seconds": sum(found["seconds"])}


def _bars(rows: list[Found], setups: list[Found], device: str) -> list[Bar]:
    """Return the Bars of the batched engine."""
    if device == "cpu":
        return [Bar(f"{row['model']}: batched over torch", row["over_torch"], LEAST,
                    note="" if row["over_torch"] else row["note"]) for row in rows]  # fmt: skip
    lenet = next(row for row in rows if row["model"] == "lenet5")
    note = lenet["note"] or "name pfl's Python with --pfl"
    return [
        Bar("LeNet-5 over pfl", lenet["over_pfl"], OVER_PFL, note=note),
        *(Bar(f"{one['name']}, s", one["seconds"], PUBLISHED, False, one["note"])
          for one in setups),
    ]  # fmt: skip
