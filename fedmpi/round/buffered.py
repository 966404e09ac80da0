"""Asynchronous rounds: clients stay at work while the server steps on the first reports.

The rounds follow FedBuff (Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek and Huba, "Federated
Learning with Buffered Asynchronous Aggregation", AISTATS 2022, arXiv:2106.06639).
`clients.per_round` clients are at work at any time. Each begins with the newest weights, and the
server steps when `buffer_size` of them have reported. The change reported by a client that began s
steps ago is scaled by 1 / (1 + s)^staleness_power, or its share if it sends bits. As in Papaya
(Huba et al., MLSys 2022, arXiv:2111.04877), a client whose staleness would exceed `max_staleness`
is called off.

A round is one step of the server. A client is simulated in the round in which it reports, but
trained from the weights that it received. The order in which clients report follows from their
plans alone, so all ranks know the clients of a round before training, and share them out as in any
other round.

Deviations from the paper: clients that begin during a round are drawn at its start, among the idle
clients; shares are computed over the clients that report. A client at work does not leave, even if
its trace says so. A lost client gives up its place when it has received its message. If the size of
a message is known only after training, the client's seconds follow from `predicted_bytes.bytes_up`.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from heapq import heapify, heappop, heappush

import numpy as np

from fedmpi import returned
from fedmpi.arrays import AnyArray, Integers, Reals, State, Vector
from fedmpi.comm.base import Comm
from fedmpi.exchange import Arrival, Job, Part
from fedmpi.layout import LEVELS, Support
from fedmpi.round.cohort import Cohort, Cohorts, shares_of, world_of
from fedmpi.round.fixed import Experiment
from fedmpi.round.predicted_bytes import bytes_up
from fedmpi.round.status import COMPLETED, DROPPED, LATE
from fedmpi.stage import within
from fedmpi.world.availability import available, dropped
from fedmpi.world.clock import Spans, spans
from fedmpi.world.conditions import conditions_of
from fedmpi.world.energy import joules

_KINDS = {"client": np.int64, "version": np.int64, "start": np.float64, "down": np.float64,
          "compute": np.float64, "up": np.float64, "lost": np.bool_}
FLIGHT = np.dtype(list(_KINDS.items()))
"""A client in flight: its version (the server's step), start, seconds by phase, and if lost."""


class Buffered(Cohorts):
    """Asynchronous cohorts, whose clients stay at work across rounds; the same on all ranks."""

    def __init__(self, experiment: Experiment, comm: Comm) -> None:
        self._experiment, self._comm, self._store = experiment, comm, experiment.memories
        self._section, self._slots = experiment.config.schedule, experiment.config.clients.cohort
        self._count = experiment.config.selected
        self._flying: AnyArray = np.zeros(0, FLIGHT)
        self._states: dict[int, dict[str, AnyArray]] = {}
        self._ended = self._next = self._flying
        self._end = 0.0

    def cohort(self, state: State, round: int, now: float) -> Cohort:
        """Return the Cohort of the clients that report, are lost or are called off in a round."""
        self._states[round], most = dict(state), self._section.max_staleness
        stale = round - self._flying["version"] > (round if most is None else most)
        flying, off = self._flying[~stale], self._flying[stale]
        presence = self._experiment.devices.presence
        if presence is not None and not len(flying):
            now = presence.begin(now, self._experiment.sizes > 0)
        fresh = self._begun(state, round, len(flying), now)
        ended, self._next, self._end = advance(flying, fresh, self._slots, self._count, now)
        cohort = np.concatenate((ended, off))
        outcomes = np.where(cohort["lost"], DROPPED, COMPLETED)
        outcomes[len(ended) :] = LATE
        order = np.argsort(cohort["client"])
        self._ended, outcomes = cohort[order], outcomes[order]
        clients = self._ended["client"].copy()
        sizes = np.where(outcomes != COMPLETED, 0, self._experiment.sizes[clients])
        shares = shares_of(sizes, self._experiment.config.clients.weighting)
        turns = sum(int((of["version"] == round).sum()) for of in (ended, self._next))
        begun = fresh["client"][:turns].copy()  # clients drawn after these got no turn
        return Cohort(clients, shares, outcomes, self._ended["version"].copy(), begun)

    def state_of(self, version: int) -> State:
        """Return the state from which the clients of `version` began."""
        return self._states[version]

    def received(self, job: Job, arrival: Arrival) -> Arrival:
        """Return the arrival of a client, with its change scaled by staleness if it is stale.

        The change is relative to the weights that the client received, and is added to the
        current weights. Bits are no changes, so the client's share is scaled instead.
        """
        now = max(self._states)
        if job.round == now or "weights" not in arrival.parts:
            return arrival
        part, base = arrival.parts["weights"], self._experiment.algorithm.base
        factor = np.float32((1.0 + now - job.round) ** -self._section.staleness_power)
        if self._experiment.algorithm.bits:
            return replace(arrival, share=arrival.share * float(factor))
        if base is None:
            part = part._replace(values=factor * part.values)
        else:
            today, change = self._states[now][base], part.values - job.state[base]
            values = within(today + factor * change, part.support)
            part = self._completed(job, part._replace(values=values), today)
        return replace(arrival, parts={**arrival.parts, "weights": part})

    def _completed(self, job: Job, part: Part, today: Vector) -> Part:
        """Return a part completed by the weights in `today` float32[P] that its client never got.

        These weights came back to the model after the client began. If `fill` is "zero", a client
        that does not have them would otherwise make them smaller.
        """
        down, method, layout = job.plan.down, self._experiment.algorithm, self._experiment.layout
        finer = LEVELS.index(down.level) > LEVELS.index(method.level)
        if method.fill != "zero" or down.whole or part.support.whole or finer:
            return part
        starts = layout.starts(method.level)
        there = np.diff(np.append(0, np.cumsum(today != 0))[starts]) > 0
        held = part.support.at(method.level).keep != 0
        new = there & (down.at(method.level).keep == 0) & ~held
        values = np.where(np.repeat(new, np.diff(starts)), today, part.values)
        return part._replace(values=values, support=Support(layout, method.level, held | new))

    def fill_times(self, clients: AnyArray, start: float) -> float:
        """Write the virtual times into a round's rows CLIENT[n]; return the round's end.

        Clients that reported leave the clients in flight, and states that no client in flight
        began from are dropped.
        """
        ended, off = self._ended, clients["status"] == LATE
        # A client that was called off received until now; its computing time is unknown.
        down = np.where(off, np.minimum(ended["down"], start - ended["start"]), ended["down"])
        compute, up = (np.where(off, 0.0, ended[name]) for name in ("compute", "up"))
        span = Spans(down, compute, up)
        clients["virtual_start"], clients["seconds_down"] = ended["start"], span.down
        clients["seconds_compute"], clients["seconds_up"] = compute, up
        moved = clients["bytes_down"] + clients["bytes_up"]
        clients["joules"] = joules(self._experiment.devices, clients["client"], span, moved)
        clients["virtual_end"] = np.where(off, start, ended["start"] + seconds_of(ended))
        self._flying = self._next
        wanted = set(self._flying["version"].tolist())
        self._states = {version: self._states[version] for version in wanted}
        return self._end

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return the table of the clients in flight, and the states from which they began."""
        table = np.array([self._flying[name].astype(np.float64) for name in _KINDS])
        states = {
            f"{version}/{name}": array
            for version, state in self._states.items()
            for name, array in state.items()
        }
        return {"table": table} | states

    def restore(self, arrays: Mapping[str, AnyArray]) -> None:
        """Restore the clients in flight and their states from the result of `arrays`."""
        table = arrays["table"]
        self._flying = np.zeros(table.shape[1], FLIGHT)
        for name, column in zip(_KINDS, table, strict=False):  # older tables have no "lost"
            self._flying[name] = column
        for key, array in arrays.items():
            version, _, name = key.partition("/")
            if name:
                self._states.setdefault(int(version), {})[name] = array

    def _begun(self, state: State, round: int, flying: int, now: float) -> AnyArray:
        """Return FLIGHT[n]: the clients that may begin in a round, in turn, with their seconds.

        Enough are drawn for the places that are free at its start, given that `flying` are taken,
        and for those that reports of the round will free.
        """
        experiment = self._experiment
        config, devices = experiment.config, experiment.devices
        seed = config.run.seed
        found = conditions_of(devices, experiment.schedule, seed, round, now)
        # Clients that began in earlier rounds are not judged by departures after this start.
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
        """Return float64[n, 3] of bytes down, bytes up and FLOPs; one rank computes each row."""
        experiment, comm, costs = self._experiment, self._comm, np.zeros((len(clients), 3))
        server, seed = experiment.server(), experiment.config.run.seed
        for i in np.flatnonzero(self._store.ranks_for(clients, comm.size) == comm.rank).tolist():
            client = int(clients[i])
            plan = experiment.plan(state, round, client)
            cost = experiment.costs.of(plan, client)
            up = bytes_up(server, seed, Job(client, round, state, plan, 0.0))
            costs[i] = cost.bytes_down, up, cost.flops
        return comm.sum_array(costs)


def seconds_of(flights: AnyArray) -> Reals:
    """Return the virtual seconds of FLIGHT[n] from start to report, float64[n]."""
    total: Reals = flights["down"] + flights["compute"] + flights["up"]
    return total


def advance(
    flying: AnyArray, fresh: AnyArray, slots: int, count: int, now: float
) -> tuple[AnyArray, AnyArray, float]:
    """Simulate until `count` clients have reported; each report frees a place for the next client.

    Parameters
    ----------
    flying : FLIGHT[m]
        The clients at work at virtual second `now`, at most `slots`.
    fresh : FLIGHT[n]
        The clients to begin next, each in turn as soon as a place is free: at `now`, or after any
        report but the last. Clients that get no turn are dropped.

    Returns
    -------
    (ended FLIGHT[.], still at work FLIGHT[.], end)
        The clients that reported or were lost, in order of time; of two at the same time, the
        lower id comes first. Fewer than `count` have reported if no other client is at work.
    """
    table = np.concatenate((flying, fresh))
    seconds, clients = seconds_of(table).tolist(), table["client"].tolist()
    ends = [(table["start"][i] + seconds[i], clients[i], i) for i in range(len(flying))]
    heapify(ends)
    waiting, free, ended = deque(range(len(flying), len(table))), slots - len(flying), []
    reported = 0
    while reported < count:
        for _ in range(min(free, len(waiting))):
            i = waiting.popleft()
            table["start"][i] = now
            heappush(ends, (now + seconds[i], clients[i], i))
        if not ends:
            break
        now, _, last = heappop(ends)
        ended.append(last)
        reported += not table["lost"][last]
        free = 1
    left = sorted(i for _, _, i in ends)
    return table[ended], table[left], float(now)
