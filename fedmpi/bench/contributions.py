"""Record what real clients of a method add to the sums over ranks, in a short run of the method.

The network is VGG-11 (9.8 million coordinates) and the images are synthetic: the supports of a
client depend on the method's rule, on measured importances and on random draws, but hardly on what
the model learns. The clients of the last round are recorded, each as if it were alone on a rank.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedmpi.arrays import Flags, Integers
from fedmpi.comm.base import Serial
from fedmpi.errors import FedmpiError
from fedmpi.experiment import resolve
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.stop import NoSignals
from fedmpi.round.fixed import Experiment
from fedmpi.round.loop import Simulation
from fedmpi.round.visit import add_arrival, visits

METHODS = {
    "FedSkel": 'name = "fedskel"\nratio = 0.25',
    "Skeletonization": 'name = "skeletonization"\ncriterion = 100.0',
    "ADP": 'name = "adp-v2"',
    "FedLP": 'name = "fedlp"',
    "FedDIP": 'name = "feddip"',
}
ROUNDS = 3  # skeletons are chosen in the first round, units first removed in the second
SETTING = """
[run]
rounds = {rounds}
[data]
name = "patterns"
images = {images}
side = 32
[clients]
number = {clients}
local_steps = 1
batch_size = 4
[model]
name = "{model}"
[optimizer]
lr = 0.01
[algorithm]
{algorithm}
"""


@dataclass(frozen=True, eq=False)
class Sum:
    """One sum of a round, with the units of it that each client touches.

    name : str
    touched : list of uint8[U], one for each client
    starts : int64[U+1]
    """

    name: str
    touched: list[Flags]
    starts: Integers

    @cached_property
    def coordinates(self) -> float:
        """Mean number of coordinates that a client touches."""
        sizes = np.diff(self.starts)
        return float(np.mean([sizes.sum(where=marks.view(bool)) for marks in self.touched]))


@dataclass(frozen=True, eq=False)
class Watched:
    """The contributions of the clients in a round of a method.

    sums : list of Sum
    memory : float, mean bytes that a participating client remembers; 0 if it remembers nothing
    """

    sums: list[Sum]
    memory: float


def of_method(name: str, clients: int = 16, model: str = "vgg11") -> Watched:
    """Return the Watched of a short run of METHODS[name], in which every client takes part.

    This takes about a tenth of a second per client and round with VGG-11.
    """
    text = SETTING.format(
        rounds=ROUNDS, images=8 * clients, clients=clients, model=model, algorithm=METHODS[name]
    )
    return watched(assemble(resolve.resolve(text, f"bench scale: {name}"), Serial(), None), ROUNDS)


def watched(experiment: Experiment, rounds: int) -> Watched:
    """Return the Watched of the last of `rounds` rounds of an Experiment."""
    simulation = Simulation(experiment, Serial(), NoSignals())
    for _ in range(rounds - 1):
        simulation.round()
    cohort = simulation.cohorts.cohort(simulation.state, rounds - 1, simulation.virtual_time)
    jobs = (simulation.job(cohort, place) for place in range(cohort.clients.size))
    algorithm = experiment.algorithm
    found: dict[str, Sum] = {}
    for done in visits(experiment.server(), experiment.engine, jobs):
        arrival = done.arrival
        if arrival is None:
            raise FedmpiError(f"bench scale: client {done.job.client} is rejected: {done.reason}")
        alone = algorithm.zero()
        add_arrival(algorithm, alone, done, arrival)
        for key, total in alone.items():
            found.setdefault(key, Sum(key, [], total.starts)).touched.append(total.touched)
    kept = simulation.memories
    sizes = [float(sum(array.nbytes for array in kept[client].values()))
             for client in kept.clients()]  # fmt: skip
    return Watched(list(found.values()), float(np.mean(sizes or [0.0])))
