"""Save the state of a run in its checkpoint, and restore it."""

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from fedmpi.comm.alike import alike
from fedmpi.comm.base import Comm
from fedmpi.errors import ResultError
from fedmpi.record import checkpoint
from fedmpi.record.checkpoint import Checkpoint
from fedmpi.record.checkpoint_parts import by_name, by_part
from fedmpi.record.paths import Out
from fedmpi.round.loop import Simulation
from fedmpi.round.memories import unpack
from fedmpi.round.transfer import transferred

if TYPE_CHECKING:  # they import h5py, which the ranks that write nothing do not need
    from fedmpi.record.reader import Run
    from fedmpi.record.writer import Writer


class CheckpointBudget:
    """Limits the time spent on checkpoints to a given share of the run time.

    The first checkpoint is always written, since its cost is not known before.
    """

    def __init__(self, share: float) -> None:
        self._share, self._began, self._spent, self._last = share, perf_counter(), 0.0, 0.0

    def allows(self, comm: Comm) -> bool:
        """Return whether there is time for another checkpoint, by rank 0's clock; collective."""
        elapsed = perf_counter() - self._began + self._last
        return bool(comm.share(self._spent + self._last <= self._share * elapsed))

    def keep(
        self, simulation: Simulation, writer: "Writer | None", out: Out, wall_time: float
    ) -> None:
        """Write a checkpoint by `save_checkpoint`, and measure its cost."""
        began = perf_counter()
        save_checkpoint(simulation, writer, out, wall_time)
        self._last = perf_counter() - began
        self._spent += self._last


def save_checkpoint(
    simulation: Simulation, writer: "Writer | None", out: Out, wall_time: float
) -> None:
    """Write the rounds so far into the result file, then the checkpoint beside `out`; collective.

    In this order the file never holds fewer rounds than the checkpoint, even if the run is killed
    in between. The checkpoint holds all that is needed to rebuild the file, except the rows of
    clients and the events. `writer` is None on all ranks but 0; `wall_time` is the duration of the
    run so far in seconds.
    """
    if not writer:
        for _ in _memories(simulation):
            pass
        return
    from fedmpi.record import reader  # imports h5py, which the other ranks do not need

    facts = {
        "run": writer.created,
        "result": writer.origin,
        "next_round": simulation.next_round,
        "virtual_time": simulation.virtual_time,
        "wall_time": wall_time,
        "parameters": simulation.experiment.layout.size,
        "begun": simulation.begun,
    }
    writer.commit()
    with checkpoint.writing(checkpoint.path_of(out), facts) as put:
        for name, array in by_name(simulation.arrays()).items():
            put.array(name, array)
        with reader.open(writer.path) as result:
            for name, rows in result.rows():
                put.column(name, rows)
        for client, data in _memories(simulation):
            put.client(client, data)


def _memories(simulation: Simulation) -> Iterator[tuple[int, bytearray]]:
    """Yield (client, bytes) of all clients' memories on rank 0; collective."""
    comm, store = simulation.comm, simulation.memories
    leaving: list[Iterable[int]] = [store.clients(), *[()] * (comm.size - 1)]
    return transferred(comm, leaving, store.packed)


def restore_checkpoint(simulation: Simulation, out: Out) -> tuple[float, str]:
    """Restore the state from the last whole checkpoint beside `out`.

    Returns the seconds of the run so far, and the reason if this is not the last checkpoint
    written, else "". A run killed before its first checkpoint starts again from round 0.
    Collective: rank 0 reads the result file and checks the checkpoint, the first rank of each node
    reads the arrays, and each rank its clients' memories. Raises ResultError, on several ranks
    AlikeError, if no checkpoint is whole, if it belongs to another run or model, or if it is
    missing though the run had written one.
    """
    comm, found = simulation.comm, None
    with alike(comm):
        if comm.rank == 0:
            found = _found(out)
    if not (found := comm.share(found)):
        return 0.0, ""
    path, note = found
    with alike(comm):
        saved = checkpoint.read(path, with_arrays=comm.node_rank == 0)
    saved.arrays = comm.copy_on_node(saved.arrays)
    with alike(comm):
        _check_model(saved, simulation.experiment.layout.size)
        _check_state(saved, simulation)
        simulation.restore(by_part(saved))
        _place_memories(simulation, saved)
        simulation.next_round = saved.fact("next_round", int)
        simulation.virtual_time = saved.fact("virtual_time", float)
        note = note and f"{note}, of round {simulation.next_round}"
        wall_time: float = saved.fact("wall_time", float)
    return wall_time, note


def _found(out: Out) -> tuple[str, str] | None:
    """Return the path of the checkpoint from which `out` is resumed, and a note; or None."""
    from fedmpi.record import reader

    with reader.open(out) as result:
        run, rounds, ended = result.created, len(result.rounds), _ended(result)
    saved, note = checkpoint.newest(out)
    if saved is None:
        if ended:
            raise ResultError(f"{checkpoint.path_of(out)}: is missing; put it back, or run the "
                              "experiment again")
        return None
    if saved.fact("run", str) != run:
        if not rounds:  # the checkpoint of an overwritten run
            return None
        raise ResultError(f"{saved.path}: belongs to another run; put back the checkpoint of this "
                          "run, or run the experiment again")
    return str(saved.path), note


def _ended(result: "Run") -> bool:
    """Return whether a run ended in an orderly way, and so with a checkpoint."""
    failed = result.status == "failed" and result.events and result.events[-1]["kind"] == "failed"
    return bool(result.status != "running" and not failed)


def _check_model(saved: Checkpoint, size: int) -> None:
    """Raise ResultError unless a checkpoint is of a model of `size` parameters."""
    weights = by_part(saved)["algorithm"].get("weights", np.zeros(0))
    if weights.shape != (size,) or weights.dtype != np.float32:
        raise ResultError(
            f"{saved.path}: does not fit the model of {size:,} parameters; put back the checkpoint "
            "of this run"
        )


def _check_state(saved: Checkpoint, simulation: Simulation) -> None:
    """Raise ResultError if the method or the selector needs an entry that the checkpoint lacks.

    fedmpi's own keep all entries. A user's may drop one after its first round, so it is compared
    with the names with which the run began, which an older fedmpi did not store.
    """
    experiment = simulation.experiment
    begun = saved.fact("begun", dict) if "begun" in saved.facts else simulation.begun
    for part, name in (("algorithm", experiment.config.algorithm.name),
                       ("selector", experiment.config.clients.selection)):
        names = begun[part] if ":" in name else by_part(saved)[part]
        if missing := sorted({*simulation.begun[part]} - {*names}):
            raise ResultError(
                f"{saved.path}: the state of {name} lacks {', '.join(missing)}, which the code "
                "that wrote it did not keep; resume with that code, or run the experiment again"
            )


def _place_memories(simulation: Simulation, saved: Checkpoint) -> None:
    """Deal the clients over the ranks; each rank reads their memories from the checkpoint."""
    store, comm, held = simulation.memories, simulation.comm, saved.clients
    if held and not 0 <= held[0] <= held[-1] < len(simulation.experiment.sizes):
        raise ResultError(f"{saved.path}: holds the memory of a client that this run does not have")
    clients = np.array(held, np.int64)
    homes = np.arange(clients.size) % comm.size
    store.set_homes(clients, homes)
    for client in clients[homes == comm.rank].tolist():
        store.prepare(client, unpack(saved.client(client)))
    store.commit()
