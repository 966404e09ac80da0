"""The round loop: select, plan, train, add, sum over ranks, step, evaluate, record.

One loop serves all algorithms; it knows none of them.
"""

from dataclasses import replace

import numpy as np

from fedmpi.comm import codec
from fedmpi.learn.evaluate import evaluate
from fedmpi.record.schema import CLIENT_STATUS, PHASES
from fedmpi.sim import rows
from fedmpi.sim.phases import Phases
from fedmpi.sim.place import place
from fedmpi.sim.select import cohort_of
from fedmpi.totals import fits
from fedmpi.world.clock import spans, synchronous

COMPLETED, REJECTED = CLIENT_STATUS.index("completed"), CLIENT_STATUS.index("rejected")


class Simulation:
    """A run in progress: everything that a round needs, and the state that it leaves.

    Attributes
    ----------
    state : dict of arrays
        The algorithm's state; "weights" are the global weights float32[P].
    next_round : int
    virtual_time : float
        Simulated seconds at the end of the last round.
    """

    def __init__(self, experiment, comm):
        self.experiment, self.comm = experiment, comm
        self.algorithm = experiment.algorithm
        self.state = self.algorithm.start(experiment.weights)
        self.next_round, self.virtual_time = 0, 0.0
        self._pace = np.ones(comm.size)  # measured seconds per unit of predicted work, by rank

    def round(self):
        """Run the next round on all ranks; return its Row, the same on each of them."""
        experiment, round, phases = self.experiment, self.next_round, Phases()
        cohort = experiment.cohort(round)
        ranks = place(experiment.work[cohort.clients], self._pace)
        mine = np.flatnonzero(ranks == self.comm.rank)
        sums, sent = self.algorithm.zero(), rows.Sent(experiment.layout)
        with phases("train"):
            clients = self._train(cohort, mine, sums, sent)
        with phases("wait"):
            self.comm.barrier()
        with phases("reduce"):
            mpi_bytes = self.comm.sum(sums)
            clients = np.sort(self.comm.gather_rows(clients), order="client")
            self.comm.sum_array(sent.table)
        with phases("step"):
            before = self.state
            self.state = self.algorithm.step(before, sums, round)
            self.state = experiment.server.step(before, self.state)
        with phases("evaluate"):
            score = self._score(round)
        self.next_round += 1
        row = self._row(cohort, clients, sums, sent, score)
        return self._measured(row, phases, mpi_bytes, ranks, cohort)

    def _train(self, cohort, mine, sums, sent):
        """Train this rank's clients and add their reports to its sums; return their rows."""
        table = np.zeros(len(mine), rows.CLIENT)
        inbox = rows.Inbox(self.state["weights"])
        for i, client, share in zip(range(len(mine)), cohort.clients[mine], cohort.shares[mine]):
            plan = self.algorithm.plan(self.state, self.next_round, int(client))
            down = inbox.receive(plan.down)
            report = self.experiment.trainer.train(
                self.state["weights"], plan, int(client), self.next_round, float(share)
            )
            message = codec.encode(report.weights, plan.up)
            up = codec.sizes(message)
            sent.add(plan, down, up)
            good = np.isfinite(report.loss) and fits(report.weights)
            if good:
                values, _ = codec.decode(message, self.experiment.layout)
                self.algorithm.add(sums, plan, replace(report, weights=values))
            flops = self.experiment.flops(plan, report.seen)
            table[i] = rows.client_row(report, plan, down, up, flops, COMPLETED if good else REJECTED)
        table["round"], table["rank"] = self.next_round, self.comm.rank
        return table

    def _score(self, round):
        """Evaluate the global weights if this round is one to evaluate, or the last one."""
        run = self.experiment.config.run
        if (round + 1) % run.eval_every and round + 1 != run.rounds:
            return None
        return evaluate(
            self.experiment.engine,
            self.state["weights"],
            self.experiment.test,
            self.experiment.dataset.classes,
            self.comm,
        )

    def _row(self, cohort, clients, sums, sent, score):
        """Let virtual time pass, and put the round's columns together."""
        span = spans(
            self.experiment.devices,
            clients["client"],
            clients["bytes_down"],
            clients["bytes_up"],
            clients["flops"],
        )
        rows.fill_times(clients, self.virtual_time, span)
        self.virtual_time = synchronous(self.virtual_time, span.total)
        columns = rows.round_columns(clients, cohort, sent, score, self.experiment.counts)
        columns["virtual_time"] = self.virtual_time
        columns["density_union"] = sums["weights"].covered
        columns["model_density"] = self.algorithm.density(self.state)
        return rows.Row(columns, clients, sent.layers(len(clients)))

    def _measured(self, row, phases, mpi_bytes, ranks, cohort):
        """Add what was measured, from all ranks, and learn each rank's pace from it."""
        seconds = np.array([[phases.seconds[name] for name in PHASES]])
        everyone = self.comm.gather_rows(np.column_stack((seconds, [[float(mpi_bytes)]])))
        row.phases = everyone[:, :-1].T
        row.columns["mpi_bytes"] = int(everyone[:, -1].sum())
        done = np.bincount(ranks, self.experiment.work[cohort.clients], self.comm.size)
        busy = done > 0
        measured = row.phases[PHASES.index("train")][busy] / done[busy]
        # A rank that had nothing to do keeps its pace; the average damps a single slow round.
        self._pace[busy] = measured if self.next_round == 1 else 0.5 * (self._pace[busy] + measured)
        if self.next_round == 1 and not busy.all():
            self._pace[~busy] = measured.mean()
        return row
