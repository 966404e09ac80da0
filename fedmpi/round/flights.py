"""Who reports in a round: everybody who began with it, or who of those in flight comes first.

Asynchronous rounds are those of FedBuff (Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek and Huba,
"Federated Learning with Buffered Asynchronous Aggregation", AISTATS 2022, arXiv:2106.06639):
`clients.per_round` clients are at work at any time, each begins from the weights that are newest
then, and the server steps when `buffer_size` of them have reported. A report of a client that
began s steps ago counts with 1 / (1 + s)^staleness_power of its change. As in Papaya (Huba et al.,
MLSys 2022, arXiv:2111.04877) one that would be staler than `max_staleness` is called off.

A round is one step of the server, and a client is trained in the round that it reports in, from
the weights that it got. Who comes when follows from plans alone, so all ranks know the clients of a
round before they train them, and share them out as in any other round. Ours: clients that begin
during a round are drawn at its start, among those not at work then; shares are of those who report.
"""

from collections import deque
from heapq import heapify, heappop, heappush

import numpy as np

from fedmpi.rng import rng_for
from fedmpi.round import columns as rows
from fedmpi.round.cohort import Cohort, shares_of
from fedmpi.round.columns import DROPPED, LATE
from fedmpi.round.messages import Post, cost_of
from fedmpi.world.availability import available
from fedmpi.world.clock import spans

FLIGHT = np.dtype(
    [("client", np.int64), ("version", np.int64)]
    + [(name, np.float64) for name in ("start", "down", "compute", "up")]
)
"""A client at work: the step of the server that it got, when it began, and its seconds."""
PREFIX = "flights"  # of arrays in a checkpoint


def flights_of(experiment, comm, store):
    """Return the Together or Flights that [schedule] wants."""
    if experiment.config.schedule.mode == "async":
        return Flights(experiment, comm, store)
    return Together(experiment)


class Together:
    """All clients of a round begin with it, from the same state."""

    lost = DROPPED  # the status of a selected client that sends nothing

    def __init__(self, experiment):
        self._experiment, self._now = experiment, None

    def cohort(self, state, round, now):
        """Return the Cohort of a round that begins with `state` at virtual second `now`."""
        self._now = state, round
        return self._experiment.cohort(round)

    def issued(self, client):
        """Return (state, round) that a client of the cohort begins from."""
        return self._now

    def arrived(self, client, weights, support):
        """Return the weights float32[P] that the server takes a client's to be."""
        return weights

    def let_time_pass(self, clients, start):
        """Write the virtual times into a round's rows CLIENT[n]; return when it ends."""
        experiment = self._experiment
        return rows.let_time_pass(clients, start, experiment.devices, experiment.schedule)

    def arrays(self):
        """Return what a checkpoint must keep, by name."""
        return {}

    def take(self, arrays):
        """Take up what `arrays` returned."""


class Flights:
    """Clients at work while the server goes on; the same on all ranks. Words as in Together."""

    lost = LATE

    def __init__(self, experiment, comm, store):
        self._experiment, self._comm, self._store = experiment, comm, store
        self._section, self._slots = experiment.config.schedule, experiment.config.clients.cohort
        self._count = experiment.config.selected
        self._flying, self._states = np.zeros(0, FLIGHT), {}
        self._landed = self._next = self._flying
        self._end = 0.0

    def cohort(self, state, round, now):
        """Return the Cohort of those who report in a round, and of those who are called off."""
        self._states[round], most = state, self._section.max_staleness
        stale = round - self._flying["version"] > (round if most is None else most)
        flying, off = self._flying[~stale], self._flying[stale]
        fresh = self._begun(state, round, len(flying))
        landed, self._next, self._end = fly(flying, fresh, self._slots, self._count, now)
        cohort = np.concatenate((landed, off))
        lost = np.arange(len(cohort)) >= len(landed)
        order = np.argsort(cohort["client"])
        self._landed, lost = cohort[order], lost[order]
        clients = self._landed["client"].copy()
        sizes = np.where(lost, 0, self._experiment.trainer.partition.sizes[clients])
        shares = shares_of(sizes, self._experiment.config.clients.weighting)
        return Cohort(clients, shares, lost)

    def issued(self, client):
        """Return (state, round) that a client of the cohort began from."""
        version = int(self._landed["version"][self._landed["client"] == client][0])
        return self._states[version], version

    def arrived(self, client, weights, support):
        """Return what a client's change, weighed by its staleness, makes of today's weights.

        float32[P], 0 outside the Support.
        """
        now = max(self._states)
        before, version = self.issued(client)
        if version == now:
            return weights
        factor = np.float32((1.0 + now - version) ** -self._section.staleness_power)
        moved = self._states[now]["weights"] + factor * (weights - before["weights"])
        return moved if support.whole else np.where(support.mask(), moved, np.float32(0))

    def let_time_pass(self, clients, start):
        """Write the virtual times into a round's rows CLIENT[n]; return when it ends.

        What was in flight is now what is left of it, and states that nobody began from go.
        """
        landed = self._landed
        for name in ("down", "compute", "up"):
            clients[f"seconds_{name}"] = landed[name]
        clients["virtual_start"] = landed["start"]
        off = clients["status"] == LATE
        clients["virtual_end"] = np.where(off, start, landed["start"] + seconds_of(landed))
        self._flying = self._next
        wanted = set(self._flying["version"].tolist())
        self._states = {version: self._states[version] for version in wanted}
        return self._end

    def arrays(self):
        """Return who is in flight, and the states that they began from."""
        table = np.array([self._flying[name].astype(np.float64) for name in FLIGHT.names])
        states = {
            f"{PREFIX} {version} {name}": array
            for version, state in self._states.items()
            for name, array in state.items()
        }
        return {PREFIX: table} | states

    def take(self, arrays):
        """Take up what `arrays` returned."""
        table = arrays[PREFIX]
        self._flying = np.zeros(table.shape[1], FLIGHT)
        for name, column in zip(FLIGHT.names, table, strict=True):
            self._flying[name] = column
        for key, array in arrays.items():
            prefix, version, name = [*key.split(" ", 2), "", ""][:3]
            if prefix == PREFIX and name:
                self._states.setdefault(int(version), {})[name] = array

    def _begun(self, state, round, flying):
        """Return FLIGHT[n]: who may begin in a round, in turn, with the seconds that it will take.

        As many as there are free places, of which `flying` are taken, and as reports free.
        """
        experiment = self._experiment
        config, devices = experiment.config, experiment.devices
        able = available(devices, config.run.seed, round) & (experiment.trainer.partition.sizes > 0)
        able[self._flying["client"]] = False
        able = np.flatnonzero(able)
        wanted = self._slots - flying + self._count - 1
        drawn = rng_for(config.run.seed, "cohort", round).choice(
            able.size, min(wanted, able.size), replace=False
        )
        fresh = np.zeros(len(drawn), FLIGHT)
        fresh["client"], fresh["version"] = able[drawn], round
        costs = self._costs(state, round, fresh["client"])
        span = spans(devices, fresh["client"], *costs.T)
        fresh["down"], fresh["compute"], fresh["up"] = span.down, span.compute, span.up
        return fresh

    def _costs(self, state, round, clients):
        """Return float64[n, 3]: bytes down, bytes up and FLOPs; each found by one rank."""
        costs, post, rank = np.zeros((len(clients), 3)), Post(), self._comm.rank
        for i, client in enumerate(clients.tolist()):
            if self._store.homes.get(client, i % self._comm.size) == rank:
                plan = self._experiment.algorithm.plan(state, round, client)
                costs[i] = cost_of(self._experiment, plan, client, post)
        return self._comm.sum_array(costs)


def seconds_of(flights):
    """Return float64[n]: the virtual seconds from begin to report of FLIGHT[n]."""
    return flights["down"] + flights["compute"] + flights["up"]


def fly(flying, fresh, slots, count, now):
    """Let time pass until `count` clients have reported; each frees a place for the next one.

    Parameters
    ----------
    flying : FLIGHT[m]
        Who is at work at virtual second `now`, at most `slots`.
    fresh : FLIGHT[n]
        Who begins next, in turn, as soon as a place is free: at `now` or with a report before
        the last. Who has no turn is forgotten.

    Returns
    -------
    (landed FLIGHT[count], still at work FLIGHT[.], end)
        In the order of their reports, of equal ones the lower client first. Fewer have reported
        if nobody else is at work.
    """
    table = np.concatenate((flying, fresh))
    seconds, clients = seconds_of(table).tolist(), table["client"].tolist()
    ends = [(table["start"][i] + seconds[i], clients[i], i) for i in range(len(flying))]
    heapify(ends)
    waiting, free, landed = deque(range(len(flying), len(table))), slots - len(flying), []
    while len(landed) < count:
        for _ in range(min(free, len(waiting))):
            i = waiting.popleft()
            table["start"][i] = now
            heappush(ends, (now + seconds[i], clients[i], i))
        if not ends:
            break
        now, _, last = heappop(ends)
        landed.append(last)
        free = 1
    left = sorted(i for _, _, i in ends)
    return table[landed], table[left], float(now)
