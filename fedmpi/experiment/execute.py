"""A whole run: put it together, go round by round, keep the result."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from fedmpi.errors import RejectedError
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.provenance import provenance
from fedmpi.experiment.save import Thrift, keep, restore
from fedmpi.experiment.watch import watching
from fedmpi.record import checkpoint
from fedmpi.record.digest import weights_sha256
from fedmpi.record.writer import Writer, check_target
from fedmpi.round.loop import Simulation, rejected


@dataclass(frozen=True)
class Start:
    """Where and how a run is started: what is not part of the experiment.

    With `resume` the run goes on from the checkpoint beside `out`, or from the beginning if
    there is none yet; `changed` are the "a.b=v" that differ from then. `data_root` and `cache`
    are folders or None, `environ` and `command` those of the command line, for the record.
    `warn` is called, in a thread of its own, with a text about ranks that seem to be stopped,
    and `stage` with a text at each step of the start.
    """

    out: Path
    overwrite: bool = False
    resume: bool = False
    changed: tuple = ()
    data_root: Path | None = None
    cache: Path | None = None
    environ: dict = field(default_factory=dict)
    command: tuple = ()
    warn: Callable[[str], None] = warnings.warn
    stage: Callable[[str], None] = str  # which shows nothing


def execute(resolved, comm, start, progress, stop):
    """Run a Resolved experiment, from its first round or its checkpoint, as far as it gets.

    `progress` is told of each round: a callable (row, rounds). `stop` is a Stop or Never.
    Returns True if all rounds are done, False if it stopped early with a complete checkpoint.
    Raises FedmpiError; whatever it is, the result file and its checkpoint are whole.
    """
    began = perf_counter()
    with watching(comm, resolved.config.run.watch_s, start.warn) as watch:
        if comm.rank == 0 and not start.resume:
            check_target(start.out, start.overwrite)
        comm.sum_by(resolved.config.collective.algorithm, start.cache)
        experiment = assemble(resolved, comm, start.data_root, start.cache, start.stage)
        simulation = Simulation(experiment, comm, stop, watch)
        began -= restore(simulation, start.out) if start.resume else 0.0
        writer = _writer(resolved, experiment, comm, start, simulation.next_round)
        start.stage("training the first round")
        try:
            _rounds(simulation, writer, start.out, began, progress, watch)
        except RejectedError as error:
            keep(simulation, writer, start.out, perf_counter() - began)
            if writer:
                writer.event("rejected", str(error))
                writer.finish("failed")
            comm.barrier()
            raise
        return _finish(simulation, writer, start.out, perf_counter() - began)


def _rounds(simulation, writer, out, began, progress, watch):
    """Go round by round until all are done or one of the ranks is asked to stop.

    `began` is when the run would have begun in one go, on the clock of perf_counter.
    """
    config, comm = simulation.experiment.config.run, simulation.comm
    thrift = Thrift(config.checkpoint_share)
    while simulation.next_round < config.rounds and not simulation.stopping:
        row = simulation.round()
        if row is None:
            break
        recorded = perf_counter()
        row.columns["wall_time"] = recorded - began
        if writer:
            writer.append(row.columns, row.clients, row.phases, row.layers)
            _note(writer, row, watch)
            writer.commit_if_due()
            progress(row, config.rounds)
        if simulation.next_round % config.checkpoint_every == 0 and thrift.allows(comm):
            thrift.keep(simulation, writer, out, row.columns["wall_time"])
        simulation.recorded = perf_counter() - recorded


def _note(writer, row, watch):
    """Write down what was out of order in a round."""
    if text := rejected(row.clients):
        writer.event("rejected", f"round {row.columns['round']}: {text}")
    for text in watch.take_news():
        writer.event("warning", text)


def _finish(simulation, writer, out, wall_time):
    """Keep the last state, close the result file, and say whether all rounds are done."""
    done = simulation.next_round >= simulation.experiment.config.run.rounds
    keep(simulation, writer, out, wall_time)
    if writer:
        if done:
            model = parameters(simulation.experiment.layout, simulation.state["weights"])
            writer.finish("finished", model, weights_sha256(model))
        else:
            writer.event("stopped", f"asked to by {simulation.stop.asked or 'another rank'}")
            writer.finish("stopped")
    simulation.comm.barrier()
    return done


def parameters(layout, weights):
    """Return the named tensors of a flat vector float32[P], as views."""
    return {t.name: weights[t.start : t.start + t.size].reshape(t.shape) for t in layout.tensors}


def _writer(resolved, experiment, comm, start, next_round):
    """Create or reopen the result file on rank 0; the other ranks write nothing."""
    facts = provenance(comm, start.environ, start.command)
    if comm.rank:
        return None
    if start.resume:
        writer = Writer.reopen(start.out, next_round, comm.size, resolved.values())
        writer.event("resume", f"from round {next_round} on {comm.size} ranks")
        for key in start.changed:
            writer.event("config", key)
        return writer
    writer = Writer.create(
        start.out,
        config_toml=resolved.text,
        resolved=resolved.values(),
        provenance=facts,
        partition_counts=experiment.counts,
        devices=experiment.devices.columns(),
        layer_names=[layer.name for layer in experiment.layout.layers],
        ranks=comm.size,
        overwrite=start.overwrite,
    )
    checkpoint.remove(start.out)  # one of a run that was here before
    return writer
