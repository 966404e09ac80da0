"""Measure how much memory a rank of a run needs, by a round of one client and one step.

The client with the most samples trains one batch, its message goes through the sums into a next
state, and one block of test samples is evaluated. So the memory of activations, engine buffers and
libraries is measured, not modelled. Only memory that grows later is calculated.
"""

from dataclasses import replace

import numpy as np

from fedmpi.arrays import Memory
from fedmpi.config import Config
from fedmpi.errors import FedmpiError
from fedmpi.exchange import Job
from fedmpi.learn.batched.device_memory import device_memory
from fedmpi.learn.batched.engine import BatchedEngine
from fedmpi.learn.batched.stacked_model import ALIGNED
from fedmpi.learn.batched.width import width_of
from fedmpi.learn.engine import BLOCK
from fedmpi.resident import peak
from fedmpi.round.fixed import Experiment
from fedmpi.round.visit import add_arrival, visits
from fedmpi.totals import Sums

MPI = 40_000_000  # bytes of an MPI library and its buffers: MPICH 5.0, two ranks of LeNet-5


def memory_of_a_rank(experiment: Experiment) -> tuple[int, int]:
    """Return the most bytes that a rank of a run needs, without its node's data: two int.

    The first is for a single rank, the second for one of several ranks on a node. This process,
    with all that it has loaded, stands for the rank, so the result is right only in a process
    that does nothing else. Raises FedmpiError if the client cannot be trained.
    """
    sums, memory = _trial(experiment)
    alone = peak() + _memories(memory, experiment.config) - data_bytes(experiment)
    arrays = [a for total in sums.values() for a in (total.sum, total.cover, total.touched)]
    # The sum of the node, and the other ranks' rows where this rank adds them up.
    return alone, alone + MPI + 2 * sum(array.nbytes for array in arrays)


def _trial(experiment: Experiment) -> tuple[Sums, Memory | None]:
    """Train a client for one step, add it, take a server step, evaluate; return sums and memory."""
    algorithm = experiment.algorithm
    client = int(experiment.sizes.argmax())
    state = algorithm.start(experiment.weights)
    plan = experiment.plan(state, 0, client)
    plan = replace(plan, steps=1 if plan.steps is None else min(plan.steps, 1))
    server = experiment.server()
    (done,) = visits(server, experiment.engine, [Job(client, 0, state, plan, 1.0)])
    sums = algorithm.zero()
    if done.arrival is not None:
        done = add_arrival(algorithm, sums, done, done.arrival)
    if done.reason:
        raise FedmpiError(f"client {client} is rejected after one step: {done.reason}")
    after = experiment.server_optimizer.step(state, algorithm.step(state, sums, 0))
    if len(experiment.test):
        x, _ = experiment.test.take(np.arange(min(BLOCK, len(experiment.test))))
        experiment.engine.outputs(after["weights"], x)
    return sums, done.memory


def memory_of_a_device(experiment: Experiment) -> tuple[int, int] | None:
    """Return (bytes of a rank on its GPU, slots of a chunk on it), or None without a GPU engine.

    The bytes are measured on this processor, so no GPU is needed here.
    """
    engine = experiment.engine
    if not isinstance(engine, BatchedEngine):
        return None
    module, data, sample = engine.networks.whole.backend.plain, engine.data, engine.networks.sample
    run, layout = experiment.config.run, engine.layout
    needed = device_memory(module, layout, sample, data, data_bytes(experiment))
    width = run.chunk or width_of(layout, data.local.batch_size, experiment.config.selected, "cuda")
    slots = -(-width // ALIGNED) * ALIGNED
    return needed.of(slots), slots


def data_bytes(experiment: Experiment) -> int:
    """Return the bytes of the data set, which the ranks of a node share."""
    return sum(array.nbytes for array in experiment.dataset.arrays().values())


def _memories(memory: Memory | None, config: Config) -> int:
    """Return the bytes of the clients' memories on a single rank that holds all of them."""
    each: int = sum(np.asarray(array).nbytes for array in (memory or {}).values())
    clients = min(config.clients.number, config.selected * config.run.rounds)
    return min(config.run.memory_mb * 1_000_000, each * clients)
