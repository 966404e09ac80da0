"""A whole run: put it together, go round by round, keep the result."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

from fedmpi.record.digest import weights_sha256
from fedmpi.record.writer import Writer, check_target
from fedmpi.sim.experiment import assemble
from fedmpi.sim.provenance import provenance
from fedmpi.sim.rounds import Simulation


@dataclass(frozen=True)
class Start:
    """Where and how a run is started: what is not part of the experiment.

    `data_root` and `cache` are folders or None, `environ` and `command` those of the
    command line, for the record.
    """

    out: Path
    overwrite: bool = False
    data_root: Path | None = None
    cache: Path | None = None
    environ: dict = field(default_factory=dict)
    command: tuple = ()


def execute(resolved, comm, start, progress):
    """Run a Resolved experiment to its end and return the path of its result file.

    `progress` is told of each round: a callable (row, rounds).
    """
    began = perf_counter()
    if comm.rank == 0:
        check_target(start.out, start.overwrite)
    experiment = assemble(resolved, comm, start.data_root, start.cache)
    facts = provenance(comm, start.environ, start.command)
    writer = _writer(resolved, experiment, comm, start, facts)
    simulation = Simulation(experiment, comm)
    while simulation.next_round < experiment.config.run.rounds:
        row = simulation.round()
        row.columns["wall_time"] = perf_counter() - began
        if writer:
            recorded = perf_counter()
            writer.append(row.columns, row.clients, row.phases, row.layers)
            writer.commit_if_due()
            simulation.recorded = perf_counter() - recorded
            progress(row, experiment.config.run.rounds)
    if writer:
        model = parameters(experiment.layout, simulation.state["weights"])
        writer.finish("finished", model, weights_sha256(model))
    comm.barrier()
    return start.out


def parameters(layout, weights):
    """Return the named tensors of a flat vector float32[P], as views."""
    return {t.name: weights[t.start : t.start + t.size].reshape(t.shape) for t in layout.tensors}


def _writer(resolved, experiment, comm, start, facts):
    """Create the result file on rank 0; the other ranks write nothing."""
    if comm.rank:
        return None
    devices = asdict(experiment.devices)
    names = devices.pop("names")
    devices["tier"] = [names[tier] for tier in experiment.devices.tier]
    return Writer.create(
        start.out,
        config_toml=resolved.text,
        resolved=resolved.values(),
        provenance=facts,
        partition_counts=experiment.counts,
        devices=devices,
        layer_names=[layer.name for layer in experiment.layout.layers],
        ranks=comm.size,
        overwrite=start.overwrite,
    )
