"""A whole run: assemble it, run its rounds, and save the result.

Modules that read or write result files, which need h5py, are imported only on ranks that use them.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from fedmpi import user_code
from fedmpi.arrays import AnyArray, Vector
from fedmpi.comm.alike import alike
from fedmpi.comm.base import Comm
from fedmpi.errors import RejectedError, ResultError, counted
from fedmpi.experiment.agree import agree, agree_on_weights, changed, code_of, digests_of
from fedmpi.experiment.assemble import assemble, unannounced
from fedmpi.experiment.provenance import mixture, provenance, recorded_in, schedules_so_far
from fedmpi.experiment.resolve import Resolved
from fedmpi.experiment.result_lock import failure_recorded, locked_by_run
from fedmpi.experiment.save import CheckpointBudget, restore_checkpoint, save_checkpoint
from fedmpi.experiment.twice import train_twice
from fedmpi.experiment.versions import check_versions, other_code, other_engine, refuse_other
from fedmpi.experiment.watch import watching
from fedmpi.layout import Layout
from fedmpi.record import checkpoint
from fedmpi.record.digest import weights_sha256
from fedmpi.round.columns import RoundRecord, rows_to_store
from fedmpi.round.fixed import Experiment
from fedmpi.round.loop import Simulation, StopSignal
from fedmpi.round.progress import Progress
from fedmpi.round.rejections import names_of_rejected

if TYPE_CHECKING:
    from fedmpi.record.writer import Writer

OnRound: TypeAlias = Callable[[RoundRecord, int], None]
"""Called after each round, on rank 0, with the RoundRecord of the result file and run.rounds."""
NOBODY = ("no client completed a round, so the weights were not trained; fedmpi check --estimate "
          "shows how many are late or lost")
NOTHING = ("no client sent a weight in any round, so the global model was not trained; the method "
           "leaves all layers of this model with the clients, or its supports are empty")


@dataclass(frozen=True)
class Start:
    """The options of a start that are not part of the experiment.

    With `resume` the run continues from the checkpoint beside `out`, or from the beginning if
    there is none yet; `changed` holds the overrides "a.b=v" that differ from the first start.
    `data_root` and `cache` are folders or None; `environ` and `command` are those of the command
    line, for the record. `force` allows a resumed run to use changed data or code, and `rebuild`
    first makes the result file again from the checkpoint.
    `warn` is called, in a separate thread, with a text about ranks that seem to be stopped,
    and `announce` with a text at each step of the start.
    """

    out: Path
    overwrite: bool = False
    resume: bool = False
    force: bool = False
    rebuild: bool = False
    changed: tuple[str, ...] = ()
    data_root: Path | None = None
    cache: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    warn: Callable[[str], None] = warnings.warn
    announce: Callable[[str], None] = unannounced


@user_code.exit_as_error()
def execute(
    resolved: Resolved, comm: Comm, start: Start, progress: OnRound, stop: StopSignal
) -> bool:
    """Run a Resolved experiment, from its first round or its checkpoint, until it ends or stops.

    `stop` is a Stop or NoSignals. Returns True if all rounds are done, False if the run stopped
    early with a complete checkpoint. Raises FedmpiError; the result file and its checkpoint are
    whole even then, and the file has the status "failed" and the reason.
    """
    began, overwrite = perf_counter(), None if start.resume else start.overwrite
    with (
        locked_by_run(comm, start.out, start.warn, overwrite) as lock,
        watching(comm, resolved.config.run.watch_s, start.warn) as watch,
    ):
        _check_versions(comm, start)
        comm.sum_by(resolved.config.collective.algorithm, start.cache)
        experiment = assemble(
            resolved, comm, start.data_root, start.cache, watch, start.announce, start.environ
        )
        digests = digests_of(experiment, comm)
        agree(comm, digests)
        if resolved.config.run.train_twice:
            start.announce("training clients twice")
            train_twice(experiment, comm, resolved.config.run.train_twice)
        simulation = Simulation(experiment, comm, stop, watch)
        lost, passed, older = "", 0.0, ""
        if start.resume:
            lost = _rebuilt(resolved, experiment, comm, start)
            passed, older = restore_checkpoint(simulation, start.out)
            began -= passed
        writer = _writer(resolved, experiment, comm, start, simulation.next_round, digests)
        if writer and older:
            checkpoint.use_previous(start.out)
        for note in (lost, older, uncounted(experiment.layout)):
            _warn(writer, note, start)
        start.announce("training the first round")
        with failure_recorded(writer, lock, start.out, comm):
            try:
                warning = _rounds(simulation, writer, start.out, began, progress, watch)
            except RejectedError as error:
                save_checkpoint(simulation, writer, start.out, perf_counter() - began)
                if writer:
                    writer.fail("rejected", str(error))
                comm.barrier()
                raise
            return _finish(simulation, writer, start, perf_counter() - began, warning)


def _rounds(
    simulation: Simulation, writer: "Writer | None", out: Path, began: float, progress: OnRound,
    watch: Progress,
) -> str:
    """Run rounds until all are done or one of the ranks is asked to stop.

    Returns a warning if the call began with the first round and no client completed any round, or
    none sent anything; else "". `began` is the start, on the clock of perf_counter, of an unbroken
    run that would be as far now.
    """
    config, comm = simulation.experiment.config.run, simulation.comm
    budget, first = CheckpointBudget(config.checkpoint_share), simulation.next_round
    completed = sent = 0
    while simulation.next_round < config.rounds and not simulation.stopping:
        record = simulation.round()
        if record is None:
            break
        completed += int(record.columns["clients_completed"])
        sent += sum(int(record.columns[f"bytes_up_{part}"]) for part in ("values", "support"))
        over = perf_counter()
        record.columns["wall_time"] = over - began
        if writer:
            rows = rows_to_store(
                record.clients, config.record_clients, config.seed, record.columns["round"]
            )
            writer.append(record.columns, rows, record.phases, record.layers, record.metrics)
            _note(writer, record, watch)
            writer.commit_if_due()
            progress(record, config.rounds)
        last = simulation.stopping or simulation.next_round >= config.rounds  # _finish saves it
        due = not last and simulation.next_round % config.checkpoint_every == 0
        if due and budget.allows(comm):
            budget.keep(simulation, writer, out, record.columns["wall_time"])
        simulation.record_seconds = perf_counter() - over
    if first or not simulation.next_round:
        return ""
    return NOBODY if not completed else "" if sent else NOTHING


def _note(writer: "Writer", record: RoundRecord, watch: Progress) -> None:
    """Write the rejections and warnings of a round into the result file."""
    if text := names_of_rejected(record.rejected):
        writer.event("rejected", f"round {record.columns['round']}: {text}")
    for text in watch.take_news():
        writer.event("warning", text)


def _finish(
    simulation: Simulation, writer: "Writer | None", start: Start, wall_time: float, warning: str
) -> bool:
    """Save the last state, close the result file, and return whether all rounds are done."""
    _warn(writer, warning, start)
    done = simulation.next_round >= simulation.experiment.config.run.rounds
    weights = simulation.state["weights"]
    agree_on_weights(simulation.comm, weights)
    save_checkpoint(simulation, writer, start.out, wall_time)
    if writer:
        if done:
            model = parameters(simulation.experiment.layout, weights)
            writer.finish("finished", model, weights_sha256(model))
        else:
            writer.event("stopped", f"asked to by {simulation.stop.asked or 'another rank'}")
            writer.finish("stopped")
    simulation.comm.barrier()
    return done


def uncounted(layout: Layout) -> str:
    """Return a warning if the FLOPs of some layers are unknown, or ""."""
    found = "; ".join(layout.uncounted)
    return found and f"FLOPs and virtual times leave out what is not counted: {found}"


def parameters(layout: Layout, weights: Vector) -> dict[str, AnyArray]:
    """Return the named tensors of a flat vector float32[P], as views."""
    return {t.name: weights[t.block].reshape(t.shape) for t in layout.tensors}


def _check_versions(comm: Comm, start: Start) -> None:
    """Refuse, before anything is built, to continue a run of another fedmpi; collective."""
    with alike(comm):
        if start.resume and not start.rebuild and comm.rank == 0:
            check_versions(start.out, start.force)


def _differs(start: Start, facts: Mapping[str, Any]) -> list[str]:
    """Return the differences from the run's start; raise ResultError if they are not allowed."""
    recorded = recorded_in(start.out)
    refuse_other(start.out, recorded, start.force)
    found = [text for part in ("digests", "code")
             for text in changed(recorded.get(part, {}), facts[part])]
    if found and not start.force:
        raise ResultError(
            f"{start.out}: {'; '.join(found)}: changed since the run began\n"
            "put it back, or continue with --force, which notes the change in the file"
        )
    return found + other_code(recorded) + changed(recorded.get("libraries", {}), facts["libraries"])


def _writer(
    resolved: Resolved, experiment: Experiment, comm: Comm, start: Start, next_round: int,
    digests: Mapping[str, str],
) -> "Writer | None":
    """Create or reopen the result file on rank 0; the other ranks write nothing."""
    engine = experiment.engine.facts
    facts = provenance(comm, start.environ, start.command, engine.get("device", "cpu"))
    facts |= {"digests": digests, "code": code_of(resolved), "engine": engine}
    with alike(comm):
        differs = _differs(start, facts) if start.resume and comm.rank == 0 else []
    if comm.rank:
        return None
    from fedmpi.record.writer import Writer

    if start.resume:
        recorded = recorded_in(start.out)
        notes = mixture(facts, recorded), other_engine(recorded, engine)
        rounds, scheduled = resolved.config.run.rounds, experiment.algorithm.scheduled
        schedule, other = schedules_so_far(start.out, rounds, next_round, scheduled)
        facts |= schedule
        writer = Writer.reopen(start.out, next_round, comm.size, resolved.values(), facts)
        writer.event("resume", f"from round {next_round} on {counted(comm.size, 'rank')}")
        for text in differs:
            writer.event("warning", f"continued after a change: {text}")
        for key in start.changed:
            writer.event("config", key)
        for text in (*notes, other):
            _warn(writer, text, start)
        return writer
    writer = Writer.create(
        start.out,
        **_fixed(experiment),
        config_toml=resolved.text,
        resolved=resolved.values(),
        provenance=facts,
        ranks=comm.size,
        overwrite=start.overwrite,
    )
    checkpoint.remove(start.out)  # the checkpoint of an overwritten run
    _warn(writer, mixture(facts), start)
    return writer


def _fixed(experiment: Experiment) -> dict[str, Any]:
    """Return the contents of a result file that depend on the Experiment alone."""
    return {
        "partition_counts": experiment.partition.counts(
            experiment.dataset.y_train, experiment.dataset.classes
        ),
        "devices": experiment.devices.columns(),
        "layer_names": [layer.name for layer in experiment.layout.layers],
        "metrics": [name for name, _ in experiment.metrics],
    }


def _rebuilt(resolved: Resolved, experiment: Experiment, comm: Comm, start: Start) -> str:
    """Rebuild the result file if `start.rebuild`; return a text on what it lacks; collective."""
    with alike(comm):
        if start.rebuild and comm.rank == 0:
            from fedmpi.experiment.rebuild import rebuild

            return rebuild(start.out, resolved, _fixed(experiment))
    return ""


def _warn(writer: "Writer | None", text: str, start: Start) -> None:
    """Show a warning and write it into the result file, on the rank that writes; "" is ignored."""
    if text and writer:
        start.warn(text)
        writer.event("warning", text)
