"""The round loop: select, plan, train, add, sum over ranks, step, evaluate, record.

The same loop runs every algorithm and contains no code for a particular one.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from fedmpi import returned
from fedmpi.arrays import AnyArray, Bools, Integers, Reals
from fedmpi.comm.base import Comm
from fedmpi.exchange import Job
from fedmpi.learn.evaluate import Score
from fedmpi.record.schema import COLLECTIVES, PHASES
from fedmpi.resident import peak
from fedmpi.round import columns, rejections
from fedmpi.round.budget import epsilon_after
from fedmpi.round.buffered import Buffered
from fedmpi.round.cohort import Cohort
from fedmpi.round.early_sums import EarlySums
from fedmpi.round.fixed import Experiment
from fedmpi.round.phases import Phases
from fedmpi.round.placement import Placement
from fedmpi.round.progress import Progress
from fedmpi.round.rejections import Reasons
from fedmpi.round.score import score_of
from fedmpi.round.status import COMPLETED, REJECTED
from fedmpi.round.synchronous import Synchronous
from fedmpi.round.visit import Server, Visit, add_arrival, visits
from fedmpi.totals import Sums, Total, detached, union
from fedmpi.world.energy import grams


class StopSignal(Protocol):
    """A signal that asks a run to stop early; `asked` is true once it has been given."""

    asked: Any


class Simulation:
    """A run in progress: everything that a round needs, and the state after the last round.

    Attributes
    ----------
    state : dict of arrays
        The algorithm's state; "weights" are the global weights float32[P].
    next_round : int
    virtual_time : float
        Simulated seconds at the end of the last round.
    stopping : bool
        True on all ranks once any of them was asked to stop.
    memories : ClientStore
        The memories that the clients of this rank keep between rounds.
    begun : dict of lists
        The names of the arrays with which the "algorithm" and the "selector" began.
    record_seconds : float
        Measured seconds that the caller spent on recording the last round.

    Parameters
    ----------
    experiment : Experiment
    comm : Comm
    stop : Stop or NoSignals
        Its `asked` is checked between clients.
    progress : Progress, optional
        Is called for each round and client.
    """

    def __init__(
        self, experiment: Experiment, comm: Comm, stop: StopSignal, progress: Progress | None = None
    ) -> None:
        self.experiment, self.comm, self.stop = experiment, comm, stop
        self._progress = progress or Progress()
        self.stopping, self.record_seconds = False, 0.0
        self.algorithm, self.memories = experiment.algorithm, experiment.memories
        self.state = self.algorithm.start(experiment.weights)
        returned.begun(self.state, experiment.layout, self.algorithm)
        self.state = detached(self.state, {})
        experiment.check_memory(self.state)
        self.next_round, self.virtual_time = 0, 0.0
        buffered = experiment.config.schedule.mode == "async"
        self.cohorts = Buffered(experiment, comm) if buffered else Synchronous(experiment)
        overlap, selected = experiment.config.collective.overlap, experiment.config.selected
        self._early_sums = EarlySums(overlap, comm, self.algorithm, selected)
        self._placement = Placement(experiment, comm)
        self.begun = {part: sorted(self.arrays()[part]) for part in ("algorithm", "selector")}

    def round(self) -> columns.RoundRecord | None:
        """Run the next round; return its RoundRecord, the same on all ranks. Collective.

        Returns None if the run was asked to stop before all clients were trained. Raises
        RejectedError if too many were rejected. In both cases the round leaves no trace. A round
        that no client completes is recorded, but keeps the state (Bonawitz et al., MLSys 2019).
        """
        experiment, round, phases = self.experiment, self.next_round, Phases(self.record_seconds)
        cohort = self.cohorts.cohort(self.state, round, self.virtual_time)
        ranks, work = self._placement.of(cohort, round)
        given, sent = self.algorithm.zero(), columns.Sent(experiment.layout)
        returned.sums(given, self.algorithm)
        sums = dict(given)  # whose entries early sums replace
        self.comm.allocate(sums)
        with phases("move"):
            moved = self._placement.move(cohort, ranks)
        with phases("train"):
            clients, reasons = self._train(cohort, ranks == self.comm.rank, sums, sent)
            self._early_sums.begin(sums, 0)  # for ranks that left early or had no client
        with phases("wait"):
            stopped, rejected = self._agree(clients)
            if stopped or clients is None:
                self._discard()
                return None
            reasons = rejections.gathered(reasons, self.comm) if rejected else ()
            if rejected > experiment.config.clients.max_rejected * len(ranks):
                self._discard()
                raise rejections.too_many(experiment, round, reasons, len(ranks))
        self.memories.commit()
        with phases("reduce"):
            clients = columns.of_cohort(self.comm.gather_rows(clients), cohort.clients)
            summation = self.comm.sum(sums)
            self.comm.sum_array(sent.table)
        with phases("step"):
            if (clients["status"] == COMPLETED).any():
                self._step(sums, cohort, clients)
        with phases("evaluate"):
            score = score_of(experiment, self.state, round, self.comm)
        record = self._record(cohort, clients, sums, sent, score)
        record.rejected = reasons
        self.next_round += 1
        self._tell_selector(cohort, clients)
        record.columns["collective"] = COLLECTIVES.index(summation.algorithm)
        record.columns["collective_regret"] = summation.regret
        return self._measured(record, phases, moved + summation.bytes, ranks, work)

    def job(self, cohort: Cohort, place_in_cohort: int) -> Job:
        """Return the Job of one client of a Cohort."""
        client, round = (int(of[place_in_cohort]) for of in (cohort.clients, cohort.versions))
        state, share = self.cohorts.state_of(round), float(cohort.shares[place_in_cohort])
        return Job(client, round, state, self.experiment.plan(state, round, client), share)

    def arrays(self) -> dict[str, Mapping[str, AnyArray]]:
        """Return the arrays that a checkpoint must store besides client memories, by part."""
        return {
            "algorithm": self.state,
            "selector": returned.kept_by(self.experiment.selector),
            "cohorts": self.cohorts.arrays(),
        }

    def restore(self, arrays: Mapping[str, Mapping[str, AnyArray]]) -> None:
        """Restore the run from the result of `arrays`."""
        self.state = dict(arrays["algorithm"])
        self.experiment.selector.restore(arrays["selector"])
        self.cohorts.restore(arrays["cohorts"])

    def _discard(self) -> None:
        """Discard the prepared memories and the early sums of this round."""
        self.memories.discard()
        self._early_sums.drop()

    def _agree(self, clients: AnyArray | None) -> tuple[bool, int]:
        """Wait for all ranks; return (whether any of them stopped, rejected clients in total).

        `clients` are this rank's rows, or None if it stopped early. Sets `stopping`, alike on all.
        """
        rejected = 0 if clients is None else (clients["status"] == REJECTED).sum()
        flags = np.array([clients is None, bool(self.stop.asked), rejected], np.int64)
        stopped, asked, rejected = self.comm.sum_array(flags).tolist()
        self.stopping = bool(asked)
        return bool(stopped), rejected

    def _train(
        self, cohort: Cohort, mine: Bools, sums: dict[str, Total], sent: columns.Sent
    ) -> tuple[AnyArray | None, Reasons]:
        """Train this rank's clients, and add the parts that arrive to its sums, in place.

        Returns (rows of the clients, [(client, reason)] of the rejected). The rows are None if a
        signal came before the last client was started.
        """
        rows, reasons = [], []
        places = np.flatnonzero(mine & ~cohort.silent)
        server, engine = self.experiment.server(), self.experiment.engine
        for place_in_cohort in np.flatnonzero(mine & cohort.silent).tolist():
            rows.append(self._lose(cohort, place_in_cohort, server, sent))
        for done in visits(server, engine, self._jobs(cohort, places, sums)):
            row, reason = self._take_in(done, sums, sent, cohort)
            rows.append(row)
            reasons += [(done.job.client, reason)] if reason else []
        self._progress.note(self.next_round)
        if len(rows) < mine.sum():
            return None, reasons
        table = np.array([row[()] for row in rows], columns.CLIENT)
        table["round"], table["rank"] = self.next_round, self.comm.rank
        return table, reasons

    def _jobs(self, cohort: Cohort, places: Integers, sums: dict[str, Total]) -> Iterator[Job]:
        """Yield the Job of each client at `places`, until asked to stop."""
        for left, place_in_cohort in zip(range(len(places), 0, -1), places, strict=True):
            if self.stop.asked:
                return
            self._early_sums.begin(sums, left)
            self._progress.note(self.next_round, int(cohort.clients[place_in_cohort]))
            yield self.job(cohort, place_in_cohort)

    def _lose(
        self, cohort: Cohort, place_in_cohort: int, server: Server, sent: columns.Sent
    ) -> AnyArray:
        """Return the row of a client that receives its messages and sends nothing."""
        job = self.job(cohort, place_in_cohort)
        down = server.messages.down(job.plan)
        sent.add(down, [])
        samples, outcome = self.experiment.sizes[job.client], cohort.outcomes[place_in_cohort]
        return columns.lost_row(job.client, samples, down, outcome)

    def _take_in(
        self, done: Visit, sums: dict[str, Total], sent: columns.Sent, cohort: Cohort
    ) -> tuple[AnyArray, str]:
        """Add the arrival of a Visit to the sums; return (CLIENT row, reason if rejected or "")."""
        experiment, job = self.experiment, done.job
        flops = experiment.flops(job.plan, done.report) if done.report else 0
        row = columns.client_row(done, experiment.sizes[job.client], flops)
        if columns.cut_off(row, self.cohorts.conditions):
            sent.add(done.down, [])
            return row, ""
        sent.add(done.down, done.up, done.support)
        if done.arrival is not None:
            done = add_arrival(self.algorithm, sums, done, self.cohorts.received(job, done.arrival))
        if done.reason:
            row["status"] = REJECTED
            return row, done.reason
        for stage in experiment.stages:
            stage.seal(sums, self.next_round, job.client, cohort.clients)
        if done.memory is not None:
            self.memories.prepare(job.client, done.memory)
        return row, ""

    def _step(self, sums: Sums, cohort: Cohort, clients: AnyArray) -> None:
        """Compute the next state by the stages, the method and the server's optimiser."""
        completed = clients["client"][clients["status"] == COMPLETED]
        for stage in self.experiment.stages[::-1]:
            stage.unseal(sums, self.next_round, cohort.clients, completed)
        for stage in self.experiment.stages:
            stage.server(sums, self.next_round, cohort.shares)
        after = self.algorithm.step(self.state, sums, self.next_round)
        returned.state(after, self.experiment.layout, self.algorithm, "step")
        after = detached(after, sums)
        self.state = self.experiment.server_optimizer.step(self.state, after)

    def _record(
        self, cohort: Cohort, clients: AnyArray, sums: Sums, sent: columns.Sent,
        score: Score | None,
    ) -> columns.RoundRecord:
        """Advance virtual time, and assemble the round's columns."""
        experiment, start, number = self.experiment, self.virtual_time, self.next_round
        self.virtual_time = self.cohorts.fill_times(clients, start)
        found = columns.round_columns(number, clients, cohort, sent, score, experiment.label_mix)
        found["virtual_time"] = self.virtual_time
        begun = self.cohorts.conditions.start  # later than `start` if the server waits for a client
        found["co2_g"] = grams(found["joules"], experiment.config.devices, begun)
        found["epsilon"] = epsilon_after(experiment, self.next_round + 1)
        found["density_union"] = union(sums, experiment.layout)
        found["flops_inference"] = experiment.flops_inference(self.state)
        density = self.algorithm.density(self.state)
        returned.number(density, self.algorithm, "density", "a number from 0 to 1", 1.0)
        found["model_density"] = density
        layers = sent.layers(columns.could_send(clients))
        return columns.RoundRecord(found, clients, layers, experiment.metrics_of(score))

    def _tell_selector(self, cohort: Cohort, clients: AnyArray) -> None:
        """Pass the clients of a finished round to the rule of selection."""
        selector = self.experiment.selector
        selector.begun(cohort.begun)
        if selector.learns:
            selector.learn(columns.reported(clients))

    def _measured(
        self, record: columns.RoundRecord, phases: Phases, mpi_bytes: int, ranks: Integers,
        work: Reals,
    ) -> columns.RoundRecord:
        """Add the measurements of all ranks to `record`, and learn each rank's pace from them."""
        seconds = np.array([[phases.seconds[name] for name in PHASES]])
        more = [[float(mpi_bytes), float(peak())]]
        everyone = self.comm.gather_rows(np.column_stack((seconds, more)))
        record.phases = everyone[:, : len(PHASES)].T
        record.columns["mpi_bytes"] = int(everyone[:, -2].sum())
        record.columns["memory_peak"] = everyone[:, -1].max()
        self._early_sums.learn(record.phases, work.sum())
        self._placement.learn(ranks, work, record.phases[PHASES.index("train")])
        return record
