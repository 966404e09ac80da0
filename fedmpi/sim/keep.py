"""Keep the state of a run in its checkpoint, and take it up again."""

from fedmpi.errors import ResultError
from fedmpi.record import checkpoint


def keep(simulation, writer, out, wall_time):
    """Write the checkpoint beside `out`; collective. Rounds so far enter the result file first.

    So the file never holds fewer rounds than the checkpoint, whatever happens in between.
    `writer` is None on all ranks but 0; `wall_time` are the seconds of the run so far.
    """
    facts = {
        "next_round": simulation.next_round,
        "virtual_time": simulation.virtual_time,
        "wall_time": wall_time,
        "parameters": simulation.experiment.layout.size,
    }
    if writer:
        writer.commit()
        with checkpoint.writing(checkpoint.path_of(out), facts) as put:
            for name, array in simulation.state.items():
                put.array(name, array)


def restore(simulation, out):
    """Take up the state in the checkpoint beside `out`; return the seconds of the run so far.

    Without a checkpoint the run starts anew. Every rank reads the file for itself. Raises
    ResultError for a damaged checkpoint, or one of another model.
    """
    path = checkpoint.path_of(out)
    if not path.exists():
        return 0.0
    kept = checkpoint.read(path)
    size = simulation.experiment.layout.size
    weights = kept.arrays.get("weights")
    if weights is None or weights.shape != (size,) or kept.facts.get("parameters") != size:
        raise ResultError(f"{path}: is not of a model of {size:,} parameters; it belongs elsewhere")
    simulation.state = kept.arrays
    simulation.next_round = int(kept.facts["next_round"])
    simulation.virtual_time = float(kept.facts["virtual_time"])
    return float(kept.facts["wall_time"])
