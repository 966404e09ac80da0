"""Asynchronous rounds: clients are at work while the server steps, and the first to report count.

They are those of FedBuff (Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek and Huba,
"Federated Learning with Buffered Asynchronous Aggregation", AISTATS 2022, arXiv:2106.06639):
`clients.per_round` clients are at work at any time, each begins from the weights that are newest
then, and the server steps when `buffer_size` of them have reported. A report of a client that
began s steps ago counts with 1 / (1 + s)^staleness_power of its change. As in Papaya (Huba et al.,
MLSys 2022, arXiv:2111.04877) one that would be staler than `max_staleness` is called off.

A round is one step of the server, and a client is trained in the round that it reports in, from
the weights that it got. Who comes when follows from plans alone, so all ranks know the clients of a
round before they train them, and share them out as in any other round. Ours: clients that begin
during a round are drawn at its start, among the idle clients; shares are of the clients that
report. A client at work does not leave, whatever its trace says. A client that is lost gives up its
place when it has received its message. Where the size of a message is known only after training, a
client's seconds are those of `dry_run.bytes_up`.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from heapq import heapify, heappop, heappush

import numpy as np

from fedmpi import returned
from fedmpi.arrays import AnyArray, Integers, Reals, State
from fedmpi.comm.base import Comm
from fedmpi.exchange import Arrival, Job
from fedmpi.round.cohort import Cohort, Cohorts, shares_of, world_of
from fedmpi.round.dry_run import bytes_up
from fedmpi.round.fixed import Experiment
from fedmpi.round.status import COMPLETED, DROPPED, LATE
from fedmpi.stage import within
from fedmpi.world.availability import available, dropped
from fedmpi.world.clock import Spans, spans
from fedmpi.world.conditions import conditions_of
from fedmpi.world.energy import joules

_KINDS = {"client": np.int64, "version": np.int64, "start": np.float64, "down": np.float64,
          "compute": np.float64, "up": np.float64, "lost": np.bool_}
FLIGHT = np.dtype(list(_KINDS.items()))
"""A client at work: the step of the server that it got, when it began, its seconds, its fate."""


class Buffered(Cohorts):
    """Clients at work while the server goes on; the same on all ranks."""

    def __init__(self, experiment: Experiment, comm: Comm) -> None:
        self._experiment, self._comm, self._store = experiment, comm, experiment.memories
        self._section, self._slots = experiment.config.schedule, experiment.config.clients.cohort
        self._count = experiment.config.selected
        self._flying: AnyArray = np.zeros(0, FLIGHT)
        self._states: dict[int, dict[str, AnyArray]] = {}
        self._landed = self._next = self._flying
        self._end = 0.0

    def cohort(self, state: State, round: int, now: float) -> Cohort:
        """Return the Cohort of the clients that report in a round or are called off."""
        self._states[round], most = dict(state), self._section.max_staleness
        stale = round - self._flying["version"] > (round if most is None else most)
        flying, off = self._flying[~stale], self._flying[stale]
        presence = self._experiment.devices.presence
        if presence is not None and not len(flying):
            now = presence.begin(now, self._experiment.sizes > 0)
        fresh = self._begun(state, round, len(flying), now)
        landed, self._next, self._end = fly(flying, fresh, self._slots, self._count, now)
        cohort = np.concatenate((landed, off))
        outcomes = np.where(cohort["lost"], DROPPED, COMPLETED)
        outcomes[len(landed) :] = LATE
        order = np.argsort(cohort["client"])
        self._landed, outcomes = cohort[order], outcomes[order]
        clients = self._landed["client"].copy()
        sizes = np.where(outcomes != COMPLETED, 0, self._experiment.sizes[clients])
        shares = shares_of(sizes, self._experiment.config.clients.weighting)
        turns = sum(int((of["version"] == round).sum()) for of in (landed, self._next))
        begun = fresh["client"][:turns].copy()  # who is drawn later gets no turn
        return Cohort(clients, shares, outcomes, self._landed["version"].copy(), begun)

    def state_of(self, version: int) -> State:
        """Return the state after which clients of `version` began."""
        return self._states[version]

    def received(self, job: Job, arrival: Arrival) -> Arrival:
        """Return the arrival of a stale client with its change scaled by staleness.

        The change counts from the weights that the client got, and is added to today's.
        """
        now = max(self._states)
        if job.round == now or "weights" not in arrival.parts:
            return arrival
        part, base = arrival.parts["weights"], self._experiment.algorithm.base
        factor = np.float32((1.0 + now - job.round) ** -self._section.staleness_power)
        if base is None:
            values = factor * part.values
        else:
            change = part.values - job.state[base]
            values = within(self._states[now][base] + factor * change, part.support)
        return replace(arrival, parts={**arrival.parts, "weights": part._replace(values=values)})

    def let_time_pass(self, clients: AnyArray, start: float) -> float:
        """Write the virtual times into a round's rows CLIENT[n]; return when it ends.

        What was in flight is now what is left of it, and states that nobody began from go.
        """
        landed = self._landed
        for name in ("down", "compute", "up"):
            clients[f"seconds_{name}"] = landed[name]
        clients["virtual_start"] = landed["start"]
        off = clients["status"] == LATE
        moved = clients["bytes_down"] + clients["bytes_up"]
        # A client that was called off has received; when it stopped computing is not known.
        span = Spans(landed["down"], np.where(off, 0.0, landed["compute"]), landed["up"])
        clients["joules"] = joules(self._experiment.devices, clients["client"], span, moved)
        clients["virtual_end"] = np.where(off, start, landed["start"] + seconds_of(landed))
        self._flying = self._next
        wanted = set(self._flying["version"].tolist())
        self._states = {version: self._states[version] for version in wanted}
        return self._end

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return who is in flight, and the states that they began from."""
        table = np.array([self._flying[name].astype(np.float64) for name in _KINDS])
        states = {
            f"{version}/{name}": array
            for version, state in self._states.items()
            for name, array in state.items()
        }
        return {"table": table} | states

    def take(self, arrays: Mapping[str, AnyArray]) -> None:
        """Take up what `arrays` returned."""
        table = arrays["table"]
        self._flying = np.zeros(table.shape[1], FLIGHT)
        for name, column in zip(_KINDS, table, strict=False):  # older ones lose nobody
            self._flying[name] = column
        for key, array in arrays.items():
            version, _, name = key.partition("/")
            if name:
                self._states.setdefault(int(version), {})[name] = array

    def _begun(self, state: State, round: int, flying: int, now: float) -> AnyArray:
        """Return FLIGHT[n]: who may begin in a round, in turn, with the seconds that it will take.

        As many as there are free places, of which `flying` are taken, and as reports free.
        """
        experiment = self._experiment
        config, devices = experiment.config, experiment.devices
        seed = config.run.seed
        found = conditions_of(devices, experiment.schedule, seed, round, now)
        # Who began before this round is not judged by who leaves after its start.
        self.conditions = replace(found, left=None)
        there = available(devices, seed, round, now)
        there = np.ones(len(experiment.sizes), bool) if there is None else there
        there[self._flying["client"]] = False
        world = world_of(experiment, there, now)
        wanted = self._slots - flying + self._count - 1
        if devices.may_be_lost:  # a lost client frees its place
            gone = int(self._flying["lost"].sum())
            wanted = int(np.ceil((wanted + gone) / max(1 - devices.dropout.mean(), 0.01)))
        drawn = experiment.selector.select(round, world, wanted, in_turn=True)
        drawn = returned.clients(drawn, world.sizes, wanted, experiment.selector)
        fresh = np.zeros(len(drawn), FLIGHT)
        fresh["client"], fresh["version"] = drawn, round
        costs = self._costs(state, round, fresh["client"])
        span = spans(self.conditions.devices, fresh["client"], *costs.T)
        fresh["lost"] = dropped(devices, drawn, seed, round)
        fresh["down"] = span.down
        fresh["compute"], fresh["up"] = np.where(fresh["lost"], 0.0, (span.compute, span.up))
        return fresh

    def _costs(self, state: State, round: int, clients: Integers) -> Reals:
        """Return float64[n, 3]: bytes down, bytes up and FLOPs; each found by one rank."""
        experiment, comm, homes = self._experiment, self._comm, self._store.homes_of(clients)
        server, seed = experiment.server_side(), experiment.config.run.seed
        costs, homes = np.zeros((len(clients), 3)), np.where(homes < 0, clients % comm.size, homes)
        for i in np.flatnonzero(homes == comm.rank).tolist():
            client = int(clients[i])
            plan = experiment.plan(state, round, client)
            cost = experiment.costs.of(plan, client, server.messages)
            up = bytes_up(server, seed, Job(client, round, state, plan, 0.0))
            costs[i] = cost.bytes_down, up, cost.flops
        return comm.sum_array(costs)


def seconds_of(flights: AnyArray) -> Reals:
    """Return float64[n]: the virtual seconds from begin to report of FLIGHT[n]."""
    total: Reals = flights["down"] + flights["compute"] + flights["up"]
    return total


def fly(
    flying: AnyArray, fresh: AnyArray, slots: int, count: int, now: float
) -> tuple[AnyArray, AnyArray, float]:
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
    (landed FLIGHT[.], still at work FLIGHT[.], end)
        Who reported or was lost, in that order, of equal ones the lower client first. Fewer than
        `count` have reported if nobody else is at work.
    """
    table = np.concatenate((flying, fresh))
    seconds, clients = seconds_of(table).tolist(), table["client"].tolist()
    ends = [(table["start"][i] + seconds[i], clients[i], i) for i in range(len(flying))]
    heapify(ends)
    waiting, free, landed = deque(range(len(flying), len(table))), slots - len(flying), []
    reported = 0
    while reported < count:
        for _ in range(min(free, len(waiting))):
            i = waiting.popleft()
            table["start"][i] = now
            heappush(ends, (now + seconds[i], clients[i], i))
        if not ends:
            break
        now, _, last = heappop(ends)
        landed.append(last)
        reported += not table["lost"][last]
        free = 1
    left = sorted(i for _, _, i in ends)
    return table[landed], table[left], float(now)
