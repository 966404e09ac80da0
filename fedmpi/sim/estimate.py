"""What an experiment will cost, before it runs: the first round, counted and not trained."""

import numpy as np

from fedmpi.comm import codec
from fedmpi.comm.base import Serial
from fedmpi.sim.experiment import assemble
from fedmpi.sim.rows import Inbox
from fedmpi.world.clock import spans, synchronous

COPIES = 4  # float32[P] buffers of the trainer: weights, gradient, two moments


def estimate(resolved, root, cache=None):
    """Return numbers by name: size of the model; bytes, FLOPs, seconds of round 0; memory in bytes.

    `root` and `cache` are folders as for `assemble`. Supports and so bytes are those of the
    plans; a method whose supports grow or shrink with the rounds will differ later.
    """
    experiment = assemble(resolved, Serial(), root, cache)
    layout, algorithm = experiment.layout, experiment.algorithm
    state = algorithm.start(experiment.weights)
    cohort, inbox = experiment.cohort(0), Inbox(experiment.weights)
    down, up, flops = [], [], []
    for client in cohort.clients:
        plan = algorithm.plan(state, 0, int(client))
        down.append(inbox.receive(plan.down).total)
        up.append(len(codec.encode(experiment.weights, plan.up)))
        flops.append(experiment.flops(plan, int(experiment.work[client])))
    columns = (np.array(down), np.array(up), np.array(flops))
    span = spans(experiment.devices, cohort.clients, *columns)
    sums = sum(a.nbytes for total in algorithm.zero().values() for a in total.arrays().values())
    return {
        "parameters": layout.size,
        "layers": len(layout.layers),
        "clients": len(cohort.clients),
        "bytes_down": sum(down),
        "bytes_up": sum(up),
        "flops": float(sum(flops)),
        "virtual_seconds": synchronous(0.0, span.total),
        "memory_of_a_rank": sum(array.nbytes for array in state.values())
        + sums
        + 4 * COPIES * layout.size,
        "memory_of_the_data": sum(array.nbytes for array in experiment.dataset.arrays().values()),
    }
