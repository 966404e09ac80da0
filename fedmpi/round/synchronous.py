"""Synchronous rounds: all clients begin at the start of the round, from the same state."""

from collections.abc import Mapping

import numpy as np

from fedmpi import returned
from fedmpi.arrays import AnyArray, State
from fedmpi.exchange import Arrival, Job
from fedmpi.round import columns
from fedmpi.round.cohort import Cohort, Cohorts, shares_of, world_of
from fedmpi.round.fixed import Experiment
from fedmpi.round.status import COMPLETED, DROPPED
from fedmpi.world.availability import available, dropped
from fedmpi.world.conditions import conditions_of


class Synchronous(Cohorts):
    """Rounds that wait for all clients, or end at a deadline."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._state: State = {}

    def cohort(self, state: State, round: int, now: float) -> Cohort:
        """Return the Cohort selected from the available clients; some of them may be lost."""
        experiment, self._state = self._experiment, state
        config, devices, seed = experiment.config, experiment.devices, experiment.config.run.seed
        if devices.presence is not None:
            now = devices.presence.begin(now, experiment.sizes > 0)
        self.conditions = conditions_of(devices, experiment.schedule, seed, round, now)
        world = world_of(experiment, available(devices, seed, round, now), now)
        drawn = experiment.selector.select(round, world, config.selected, in_turn=False)
        begun = returned.clients(drawn, world.sizes, config.selected, experiment.selector)
        clients = np.sort(begun)
        shares = shares_of(experiment.sizes[clients], config.clients.weighting)
        versions = np.full(clients.size, round)
        lost = dropped(devices, clients, seed, round)
        return Cohort(clients, shares, np.where(lost, DROPPED, COMPLETED), versions, begun)

    def state_of(self, version: int) -> State:
        """Return the state at the start of this round."""
        return self._state

    def received(self, job: Job, arrival: Arrival) -> Arrival:
        """Return the arrival as it is."""
        return arrival

    def fill_times(self, clients: AnyArray, start: float) -> float:
        """Write the virtual times into a round's rows CLIENT[n]; return the round's end."""
        return columns.fill_times(clients, self.conditions)

    def arrays(self) -> Mapping[str, AnyArray]:
        """Return an empty dict: no client is at work between rounds."""
        return {}

    def restore(self, arrays: Mapping[str, AnyArray]) -> None:
        """Do nothing: no client was at work."""
