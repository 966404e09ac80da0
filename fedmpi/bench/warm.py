"""Fill a node's cache with the kernels of every algorithm, by running a few rounds of each."""

from time import perf_counter

from fedmpi import kernels
from fedmpi.algorithms import ALGORITHMS
from fedmpi.comm.base import Comm, Serial
from fedmpi.errors import ConfigError
from fedmpi.experiment import resolve
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.stop import NoSignals
from fedmpi.round.loop import Simulation

ROUNDS = 4  # a client's second visit may need other kernels than its first
TINY = {
    "run": {"rounds": ROUNDS},
    "data": {"name": "patterns", "side": 8, "images": 60},
    "clients": {"number": 2, "local_steps": 1, "batch_size": 4},
}


def warm(comm: Comm) -> float:
    """Compile the kernels on each node, each rank its share; return the seconds taken.

    Collective over `comm`. A kernel that was missed is compiled when it is needed, also by only
    one rank of a node: see kernels/_cache.py.
    """
    began, share = perf_counter(), (comm.node_rank, comm.node_size)
    kernels.warmup.warm(*share)
    kernels.warmup.warm_sums(*share)
    for name in sorted(ALGORITHMS)[comm.node_rank :: comm.node_size]:
        _rehearse(name)
    comm.node_barrier()
    return perf_counter() - began


def _rehearse(name: str) -> None:
    """Run a few rounds of an algorithm on tiny data, if its default keys allow it."""
    try:
        experiment = assemble(resolve.of_tree(TINY | {"algorithm": {"name": name}}), Serial(), None)
        simulation = Simulation(experiment, Serial(), NoSignals())
    except ConfigError:  # keys that only a user can choose
        return
    for _ in range(ROUNDS):
        simulation.round()
