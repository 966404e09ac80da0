"""The round loop: select, plan, train, add, sum over ranks, step, evaluate, record.

One loop serves all algorithms; it knows none of them.
"""

from dataclasses import replace

import numpy as np

from fedmpi.errors import ClientError, RejectedError
from fedmpi.record.schema import COLLECTIVES, PHASES
from fedmpi.round import columns as rows
from fedmpi.round.columns import COMPLETED, REJECTED
from fedmpi.round.early_sums import Ahead
from fedmpi.round.flights import PREFIX, flights_of
from fedmpi.round.memories import ClientStore
from fedmpi.round.messages import Post
from fedmpi.round.phases import Phases
from fedmpi.round.place import at_home, place
from fedmpi.round.progress import Progress
from fedmpi.round.score import score_of
from fedmpi.totals import fits

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
        self._watch = watch or Progress()
        self.stopping, self.recorded = False, 0.0
        self.algorithm, self.store = experiment.algorithm, ClientStore()
        self.algorithm.attach(self.store, experiment.trainer.accuracy)
        self.state = self.algorithm.start(experiment.weights)
        self.next_round, self.virtual_time = 0, 0.0
        self.flights = flights_of(experiment, comm, self.store)
        config = experiment.config
        self._ahead = Ahead(config.collective.overlap, comm, self.algorithm, config.selected)
        self._pace = np.ones(comm.size)  # measured seconds per unit of predicted work, by rank

    def round(self):
        """Run the next round on all ranks; return its Row, the same on each of them.

        Returns None if the run was asked to stop before all clients were trained, and raises
        RejectedError if too many of them were rejected: then the round leaves no trace, and
        the state is that of its beginning. A round that nobody completes is abandoned (Bonawitz
        et al., MLSys 2019): it is recorded, and the state stays as it was.
        """
        experiment, round, phases = self.experiment, self.next_round, Phases()
        phases.seconds["record"] = self.recorded  # of the round before
        cohort = self.flights.cohort(self.state, round, self.virtual_time)
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
            if (clients["status"] == COMPLETED).any():
                after = self.algorithm.step(self.state, sums, round)
                self.state = experiment.server.step(self.state, after)
        with phases("evaluate"):
            score = self._score(round)
        row = self._row(cohort, clients, sums, sent, score)
        self.next_round += 1
        row.columns |= {
            "collective": COLLECTIVES.index(summed.algorithm),
            "collective_regret": summed.regret,
        }
        return self._measured(row, phases, moved + summed.bytes, ranks, work)

    def _placed(self, cohort):
        """Return the rank of each client of a cohort, int64[n], and its predicted work.

        What a client's memory says of its work is known at its home only, so it is shared.
        """
        work = np.where(cohort.dropped, 0.0, self.experiment.work[cohort.clients])
        rank = self.comm.rank
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

    def arrays(self):
        """Return what a checkpoint must keep beside the clients' memories: arrays by name."""
        return self.state | self.flights.arrays()

    def take(self, arrays):
        """Take up what `arrays` returned."""
        self.state = {name: a for name, a in arrays.items() if name.split(" ")[0] != PREFIX}
        self.flights.take(arrays)

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
        post = Post(self.experiment.config.network.value_type)
        for i, place_in_cohort in enumerate(np.flatnonzero(mine)):
            if self.stop.asked:
                return None
            self._ahead.begin(sums, len(table) - i)
            client = int(cohort.clients[place_in_cohort])
            share = float(cohort.shares[place_in_cohort])
            self._watch.note(self.next_round, client)
            lost = cohort.dropped[place_in_cohort]
            table[i] = self._visit(client, share, lost, post, sums, sent)
        self._watch.note(self.next_round)
        table["round"], table["rank"] = self.next_round, self.comm.rank
        return table

    def _visit(self, client, share, lost, post, sums, sent):
        """Send one client its message, train it unless it is `lost`, take in its answer.

        Returns its row.
        """
        experiment = self.experiment
        state, began = self.flights.issued(client)
        plan = self.algorithm.plan(state, began, client)
        down, samples = post.down(plan), experiment.trainer.partition.sizes[client]
        if lost:
            sent.add(down, [])
            return rows.silent_row(client, samples, down, self.flights.lost)
        try:
            report = experiment.trainer.train(state["weights"], plan, client, began, share)
            parts = self.algorithm.message(state, plan, report)
        except CLIENT_FAULTS:
            taken, up, row = {}, [], rows.silent_row(client, samples, down, REJECTED)
        else:
            arrived, up = post.up(plan, parts)
            taken = {name: values for name, (values, _) in arrived.items()}
            taken["weights"] = self.flights.arrived(client, *arrived["weights"])
            good = np.isfinite(report.loss) and all(map(fits, taken.values()))
            flops, status = experiment.flops(plan, report), COMPLETED if good else REJECTED
            row = rows.client_row(report, down, up, flops, status)
        in_time = rows.in_time(row, experiment.devices, experiment.schedule)
        sent.add(down, up if in_time else [])
        if row["status"] == COMPLETED:
            self._take_in(sums, plan, report, arrived, taken)
        return row

    def _take_in(self, sums, plan, report, arrived, taken):
        """Keep a client's memory, and add to the sums what `arrived` from it is `taken` to be."""
        state, _ = self.flights.issued(report.client)
        memory = self.algorithm.remember(state, plan, report, arrived)
        if memory is not None:
            self.store.stage(report.client, memory)
        support = arrived["weights"][1]
        # Only what the messages hold can reach the sums.
        report.weights, report.private, report.statistics = taken["weights"], None, taken
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
        experiment, start = self.experiment, self.virtual_time
        self.virtual_time = self.flights.let_time_pass(clients, start)
        counts, round = experiment.counts, self.next_round
        columns = rows.round_columns(round, clients, cohort, sent, score, counts)
        columns["virtual_time"] = self.virtual_time
        columns["density_union"] = max(total.covered for total in sums.values())
        columns["model_density"] = self.algorithm.density(self.state)
        columns["flops_inference"] = experiment.flops_inference(self.state)
        return rows.Row(columns, clients, sent.layers(rows.heard(clients)))

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
        if self.next_round == 1 and busy.any() and not busy.all():
            self._pace[~busy] = measured.mean()
        return row


def rejected(clients):
    """Say in words which of a round's rows CLIENT[n] were rejected, "" if none was."""
    found = np.sort(clients["client"][clients["status"] == REJECTED]).tolist()
    more = ", ..." if len(found) > NAMED else ""
    return f"{len(found)} rejected ({', '.join(map(str, found[:NAMED]))}{more})" if found else ""
