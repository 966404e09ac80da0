"""What an experiment will cost, before it runs: the first round, counted and not trained."""

import numpy as np

from fedmpi.comm import codec
from fedmpi.comm.base import Serial
from fedmpi.flops import of_plan
from fedmpi.sim.experiment import assemble
from fedmpi.sim.post import Post
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
    cohort, post = experiment.cohort(0), Post()
    down, up, flops = [], [], []
    for client in cohort.clients:
        plan = algorithm.plan(state, 0, int(client))
        down.append(sum(letter.size.total for letter in post.down(plan)))
        up.append(codec.size_of(plan.up).total)
        seen = int(experiment.work[client])
        part = experiment.trainer.networks.of(plan.part).layout
        flops.append(float(of_plan(part, plan, seen).sum()))
    columns = (np.array(down), np.array(up), np.array(flops))
    span = spans(experiment.devices, cohort.clients, *columns)
    sums = sum(total.sum.nbytes + total.cover.nbytes for total in algorithm.zero().values())
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
