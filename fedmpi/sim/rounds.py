"""The round loop: select, plan, train, add, sum over ranks, step, evaluate, record.

One loop serves all algorithms; it knows none of them.
"""

from dataclasses import replace

import numpy as np

from fedmpi.errors import ClientError, RejectedError
from fedmpi.record.schema import CLIENT_STATUS, COLLECTIVES, PHASES
from fedmpi.sim import rows
from fedmpi.sim.ahead import Ahead
from fedmpi.sim.phases import Phases
from fedmpi.sim.place import at_home, place
from fedmpi.sim.post import Post
from fedmpi.sim.score import score_of
from fedmpi.sim.store import ClientStore
from fedmpi.sim.watch import Blind
from fedmpi.totals import fits
from fedmpi.world.clock import spans, synchronous

COMPLETED, REJECTED = CLIENT_STATUS.index("completed"), CLIENT_STATUS.index("rejected")

# What numbers can bring about in a client's training, so the same for any number of ranks.
# Anything else is a fault of a program or of this machine, and ends the run.
CLIENT_FAULTS = (ClientError, ArithmeticError, np.linalg.LinAlgError)
NAMED = 10  # clients that a message names


class Simulation:
    """A run in progress: everything that a round needs, and the state that it leaves.

    Attributes
    ----------
    state : dict of arrays
        The algorithm's state; "weights" are the global weights float32[P].
    next_round : int
    virtual_time : float
        Simulated seconds at the end of the last round.
    stopping : bool
        True, alike on all ranks, once one of them was asked to stop.
    store : ClientStore
        What the clients of this rank keep between rounds.
    recorded : float
        Measured seconds that the caller spent on keeping the last round's row.
    """

    def __init__(self, experiment, comm, stop, watch=None):
        self.experiment, self.comm, self.stop = experiment, comm, stop
        self._watch = watch or Blind()
        experiment.trainer.on_step = self._watch.step
        self.stopping, self.recorded = False, 0.0
        self.algorithm, self.store = experiment.algorithm, ClientStore()
        self.algorithm.attach(self.store, experiment.trainer.accuracy)
        self.state = self.algorithm.start(experiment.weights)
        self.next_round, self.virtual_time = 0, 0.0
        overlap, cohort = experiment.config.collective.overlap, experiment.config.clients.cohort
        self._ahead = Ahead(overlap, comm, self.algorithm, cohort)
        self._pace = np.ones(comm.size)  # measured seconds per unit of predicted work, by rank

    def round(self):
        """Run the next round on all ranks; return its Row, the same on each of them.

        Returns None if the run was asked to stop before all clients were trained, and raises
        RejectedError if too many of them were rejected: then the round leaves no trace, and
        the state is that of its beginning.
        """
        experiment, round, phases = self.experiment, self.next_round, Phases()
        phases.seconds["record"] = self.recorded  # of the round before
        cohort = experiment.cohort(round)
        ranks, work = self._placed(cohort)
        sums, sent = self.algorithm.zero(), rows.Sent(experiment.layout)
        with phases("train"):
            moved = self._move(cohort, ranks)
            clients = self._train(cohort, ranks == self.comm.rank, sums, sent)
            self._ahead.begin(sums, 0)  # ranks that left early or had no client
        with phases("wait"):
            early, refused = self._agree(clients)
            if early:
                self._discard()
                return None
            if refused > experiment.config.clients.max_rejected * len(ranks):
                self._discard()
                raise self._too_many(self.comm.gather_rows(clients))
        self.store.commit()
        with phases("reduce"):
            summed = self.comm.sum(sums)
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
        row.columns |= {
            "collective": COLLECTIVES.index(summed.algorithm),
            "collective_regret": summed.regret,
        }
        return self._measured(row, phases, moved + summed.bytes, ranks, work)

    def _placed(self, cohort):
        """Return the rank of each client of a cohort, int64[n], and its predicted work.

        What a client's memory says of its work is known at its home only, so it is shared.
        """
        work, rank = self.experiment.work[cohort.clients], self.comm.rank
        if not self.algorithm.remembers:
            return place(work, self._pace), work
        homes = self.store.homes_of(cohort.clients)
        asked = np.flatnonzero(np.where(homes < 0, 0, homes) == rank)
        loads = np.zeros(len(work))
        for i in asked.tolist():
            loads[i] = self.algorithm.load(self.next_round, int(cohort.clients[i]))
        work = work * self.comm.sum_array(loads)
        return at_home(place(work, self._pace), work, homes), work

    def _move(self, cohort, ranks):
        """Bring the clients' memories to the ranks that simulate them; return the bytes sent."""
        if not self.algorithm.remembers:
            return 0
        return self.store.move(self.comm, cohort.clients, ranks)

    def _discard(self):
        """Forget what this round began."""
        self.store.discard()
        self._ahead.drop()

    def _agree(self, clients):
        """Wait for all ranks; return whether one left its clients early, and the rejected in all.

        `clients` are this rank's rows, None if it left early. Afterwards `stopping` says, alike
        on all ranks, whether any was asked to stop.
        """
        refused = 0 if clients is None else (clients["status"] == REJECTED).sum()
        flags = np.array([clients is None, bool(self.stop.asked), refused], np.int64)
        early, asked, refused = self.comm.sum_array(flags).tolist()
        self.stopping = bool(asked)
        return bool(early), refused

    def _too_many(self, clients):
        """Return the error that names the rejected of a round's rows."""
        limit = self.experiment.config.clients.max_rejected
        return RejectedError(
            f"round {self.next_round}: of {len(clients)} clients {rejected(clients)}; "
            f"the run stops, since clients.max_rejected = {limit:g}\n"
            f"{self.algorithm.remedy} and run it anew, or resume with a larger clients.max_rejected"
        )

    def _train(self, cohort, mine, sums, sent):
        """Train this rank's clients and add their reports to its sums; return their rows.

        Returns None if a signal came before the last of them was begun.
        """
        table = np.zeros(mine.sum(), rows.CLIENT)
        post = Post()
        for i, place_in_cohort in enumerate(np.flatnonzero(mine)):
            if self.stop.asked:
                return None
            self._ahead.begin(sums, len(table) - i)
            client = int(cohort.clients[place_in_cohort])
            share = float(cohort.shares[place_in_cohort])
            self._watch.note(self.next_round, client)
            table[i] = self._visit(client, share, post, sums, sent)
        self._watch.note(self.next_round)
        table["round"], table["rank"] = self.next_round, self.comm.rank
        return table

    def _visit(self, client, share, post, sums, sent):
        """Send one client its message, train it, take in its answer; return its row."""
        experiment = self.experiment
        plan = self.algorithm.plan(self.state, self.next_round, client)
        down = post.down(plan)
        try:
            report = experiment.trainer.train(
                self.state["weights"], plan, client, self.next_round, share
            )
            parts = self.algorithm.message(self.state, plan, report)
        except CLIENT_FAULTS:
            sent.add(down, [])
            samples = experiment.trainer.partition.sizes[client]
            return rows.failed_row(client, samples, down, REJECTED)
        arrived, up = post.up(plan, parts)
        sent.add(down, up)
        good = np.isfinite(report.loss) and all(fits(values) for values, _ in arrived.values())
        if good:
            self._take_in(sums, plan, report, arrived)
        flops = experiment.flops(plan, report)
        return rows.client_row(report, down, up, flops, COMPLETED if good else REJECTED)

    def _take_in(self, sums, plan, report, arrived):
        """Add what arrived from a client to the sums, and keep the client's memory."""
        memory = self.algorithm.remember(self.state, plan, report, arrived)
        if memory is not None:
            self.store.stage(report.client, memory)
        more = {name: values for name, (values, _) in arrived.items()}
        weights, support = arrived["weights"]
        # Only what the messages hold can reach the sums.
        report.weights, report.private, report.statistics = weights, None, more
        plan = plan if support is plan.up else replace(plan, up=support)
        self.algorithm.add(sums, plan, report)

    def _score(self, round):
        """Evaluate global and own models if this round is one to evaluate, or the last one."""
        run = self.experiment.config.run
        if (round + 1) % run.eval_every and round + 1 != run.rounds:
            return None
        homes = self.store.homes
        return score_of(self.experiment, self.algorithm, self.state, homes, round, self.comm)

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
        columns["density_union"] = max(total.covered for total in sums.values())
        columns["model_density"] = self.algorithm.density(self.state)
        columns["flops_inference"] = self.experiment.flops_inference(self.state)
        return rows.Row(columns, clients, sent.layers(len(clients)))

    def _measured(self, row, phases, mpi_bytes, ranks, work):
        """Add what was measured, from all ranks, and learn each rank's pace from it."""
        seconds = np.array([[phases.seconds[name] for name in PHASES]])
        everyone = self.comm.gather_rows(np.column_stack((seconds, [[float(mpi_bytes)]])))
        row.phases = everyone[:, :-1].T
        row.columns["mpi_bytes"] = int(everyone[:, -1].sum())
        self._ahead.learn(row.phases, work.sum())
        done = np.bincount(ranks, work, self.comm.size)
        busy = done > 0
        measured = row.phases[PHASES.index("train")][busy] / done[busy]
        # A rank that had nothing to do keeps its pace; the average damps a single slow round.
        self._pace[busy] = measured if self.next_round == 1 else 0.5 * (self._pace[busy] + measured)
        if self.next_round == 1 and not busy.all():
            self._pace[~busy] = measured.mean()
        return row


def rejected(clients):
    """Say in words which of a round's rows CLIENT[n] were rejected, "" if none was."""
    found = np.sort(clients["client"][clients["status"] == REJECTED]).tolist()
    more = ", ..." if len(found) > NAMED else ""
    return f"{len(found)} rejected ({', '.join(map(str, found[:NAMED]))}{more})" if found else ""
