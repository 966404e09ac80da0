"""Result files in the formats of CSV, TensorBoard, MLflow and Weights & Biases, offline.

No data is sent: each function writes files below a folder, which the tracker's own program shows or
uploads. Steps are rounds, counted from 1. A round without an evaluation has no accuracy. Times are
those of the run, its start plus `wall_time`.
"""

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from fedmpi.analysis import text_tables
from fedmpi.analysis.compare import setting
from fedmpi.errors import ResultError
from fedmpi.record.paths import Out
from fedmpi.record.reader import Run
from fedmpi.toml_text import leaves

EXTRA = "pip install 'fedmpi[trackers]'"
BATCH = 500  # metrics sent to MLflow at once; its limit is 1,000
UNADDRESSED = set("#%?")  # characters with a meaning in the address of MLflow's database
LONGEST = 6000  # characters of a value among MLflow's parameters


def export(runs: Sequence[Run], kind: str, folder: Out) -> list[str]:
    """Write Runs as `kind`, a key of KINDS, below `folder`; return the paths written.

    Each run gets a folder with the name of its file. Raises ResultError if a folder exists already,
    if MLflow cannot write to it, if files cannot be written, or if a library is missing. After an
    error the new folders are removed, so the same call can be repeated.
    """
    places = _places(runs, kind, folder)
    try:
        with ExitStack() as after_error:
            for run, place in zip(runs, places, strict=True):
                if kind != "mlflow":  # which writes one database for all runs
                    after_error.callback(shutil.rmtree, place, ignore_errors=True)
                KINDS[kind](run, place)
            after_error.pop_all()
    except ImportError as error:
        raise ResultError(f"--to {kind} needs {error.name}: {EXTRA}") from error
    except OSError as error:
        raise ResultError(f"{folder}: {error.strerror or error}; cannot be written") from error
    return [str(place if kind != "mlflow" else folder) for place in places]


def _places(runs: Sequence[Run], kind: str, folder: Out) -> list[Path]:
    """Return the folder of each run, or raise ResultError if they cannot be written as `kind`."""
    names = [Path(run.path).stem for run in runs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ResultError(f"{twice}: two of the files have this name; export them one by one")
    places = [Path(folder) / name for name in names]
    if kind == "mlflow" and (wrong := UNADDRESSED.intersection(str(Path(folder).absolute()))):
        raise ResultError(f"{folder}: MLflow cannot write to a folder with {min(wrong)} in its "
                          "path; name another folder with -o")
    for place in places:
        if place.exists() and kind != "mlflow":
            raise ResultError(f"{place}: exists; name another folder with -o")
    return places


def scalars(run: Run) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Yield (step, seconds since 1970, {column: number}) of every round, without NaN."""
    begin = datetime.fromisoformat(run.created).timestamp()
    columns = {name: run.rounds[name].tolist() for name in run.rounds if name != "round"}
    for i in range(len(run.rounds)):
        row = {name: values[i] for name, values in columns.items() if not _missing(values[i])}
        yield i + 1, begin + row.get("wall_time", 0.0), row


def parameters(run: Run) -> dict[str, float | str | bool]:
    """Return {"section.key": number, text or bool} of the configuration; lists become JSON."""
    found: dict[str, float | str | bool] = {}
    for key, value in leaves(run.config):
        if value is not None:
            known = isinstance(value, bool | int | float | str)
            found[key] = value if known else json.dumps(value)
    return found


def to_csv(run: Run, place: Path) -> None:
    """Write rounds.csv, clients.csv, config.json and info.json."""
    place.mkdir(parents=True)
    for name, clients in (("rounds", False), ("clients", True)):
        lines = text_tables.table(run, clients=clients, format="csv")
        (place / f"{name}.csv").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    (place / "config.json").write_text(text_tables.as_json(run.config, 1), "utf-8")
    (place / "info.json").write_text(text_tables.as_json(run.info(), 1), "utf-8")


def to_tensorboard(run: Run, place: Path) -> None:
    """Write an event file with a scalar for each column, the configuration and its parameters."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(place))
    begin = datetime.fromisoformat(run.created).timestamp()
    writer.add_event(Event(wall_time=begin, summary=hparams_pb(
        parameters(run), trial_id=run.path, start_time_secs=begin)))
    for step, seconds, row in scalars(run):
        values = [Summary.Value(tag=f"rounds/{name}", simple_value=value)
                  for name, value in row.items()]
        writer.add_event(Event(wall_time=seconds, step=step, summary=Summary(value=values)))
    writer.close()


def to_mlflow(run: Run, place: Path) -> None:
    """Add a run to the database mlflow.db beside `place`, with parameters and metrics."""
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    place.parent.mkdir(parents=True, exist_ok=True)
    folder = place.parent.absolute()
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    found = client.get_experiment_by_name("fedmpi")
    experiment = found.experiment_id if found else client.create_experiment(
        "fedmpi", artifact_location=f"file://{folder}/artifacts")
    begin = round(1000 * datetime.fromisoformat(run.created).timestamp())
    name = setting(run, "run", "name", place.name)
    record = client.create_run(experiment, start_time=begin, run_name=name,
                               tags={"fedmpi.file": place.name, "fedmpi.status": run.status})
    key = record.info.run_id
    params = [Param(name, str(value)[:LONGEST]) for name, value in parameters(run).items()]
    for at in range(0, len(params), BATCH // 5):
        client.log_batch(key, params=params[at : at + BATCH // 5])
    metrics = [Metric(name, value, round(1000 * seconds), step)
               for step, seconds, row in scalars(run) for name, value in row.items()]
    for at in range(0, len(metrics), BATCH):
        client.log_batch(key, metrics=metrics[at : at + BATCH])
    status = {"finished": "FINISHED", "failed": "FAILED"}.get(run.status, "KILLED")
    client.set_terminated(key, status, metrics[-1].timestamp if metrics else begin)


def to_wandb(run: Run, place: Path) -> None:
    """Write an offline run of Weights & Biases, which `wandb sync` uploads."""
    import wandb

    place.mkdir(parents=True)
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True,
                              x_disable_meta=True, save_code=False)
    name = setting(run, "run", "name", place.name)
    log = wandb.init(mode="offline", dir=str(place), project="fedmpi", name=name,
                     config=run.config, settings=settings)
    for step, seconds, row in scalars(run):
        log.log(row | {"_timestamp": seconds}, step=step)
    log.finish()
    wandb.teardown()  # returns when the file is complete


def _missing(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


KINDS = {"csv": to_csv, "tensorboard": to_tensorboard, "mlflow": to_mlflow, "wandb": to_wandb}
