"""Estimate the cost of an experiment before it runs: plan the first round without training."""

from pathlib import Path
from typing import Any

import numpy as np

from fedmpi import user_code
from fedmpi.arrays import Integers, Reals
from fedmpi.comm.base import Serial
from fedmpi.exchange import Job
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import Resolved
from fedmpi.experiment.trial import data_bytes, memory_of_a_device, memory_of_a_rank
from fedmpi.round.cohort import Cohort
from fedmpi.round.fixed import Experiment
from fedmpi.round.predicted_bytes import bytes_up
from fedmpi.round.synchronous import Synchronous
from fedmpi.world.cells import share_uplinks
from fedmpi.world.clock import spans


@user_code.exit_as_error()
def estimate(resolved: Resolved, root: Path | None, cache: Path | None = None) -> dict[str, Any]:
    """Return numbers by name: size of the model; bytes, FLOPs, seconds of round 0; memory in bytes.

    `root` and `cache` are folders as for `assemble`. Supports, and so bytes, are those of the plans
    of round 0; a method whose supports grow or shrink will differ in later rounds. "late" counts
    the clients of round 0 that miss its deadline, and "dropped" the clients that are lost.
    """
    experiment = assemble(_without_gpu(resolved), Serial(), root, cache)
    rounds = Synchronous(experiment)
    cohort, down, up, flops = first_round(experiment, rounds)
    conditions = rounds.conditions
    up[cohort.silent] = flops[cohort.silent] = 0
    devices, lost = conditions.devices, cohort.silent
    schedule = conditions.for_each(cohort.clients)
    span = spans(devices, cohort.clients, down, up, flops)
    late = schedule.late(span) & ~lost
    up[late] = schedule.through(span, devices, cohort.clients, up)[late]
    seen = schedule.cut_off(span, late, lost)
    seen = share_uplinks(seen, devices, cohort.clients, up)
    alone, of_several = memory_of_a_rank(experiment)
    return _model(experiment) | {
        "clients": len(cohort.clients),
        "late": int(late.sum()),
        "dropped": int(lost.sum()),
        "bytes_down": int(down.sum()),
        "bytes_up": int(up.sum()),
        "flops": float(flops.sum()),
        "virtual_seconds": experiment.schedule.end(0.0, seen, late | lost),
        "memory_of_a_rank": alone,
        "memory_of_one_of_several": of_several,
        "memory_of_a_device": memory_of_a_device(experiment),
        "memory_of_the_data": data_bytes(experiment),
    }


def first_round(
    experiment: Experiment, rounds: Synchronous, most: int | None = None
) -> tuple[Cohort, Integers, Integers, Reals]:
    """Return round 0 and the bytes down, bytes up and FLOPs of its first `most` clients.

    It plans the round as a run does, so faulty plans raise the same errors as in a run.
    """
    state = experiment.algorithm.start(experiment.weights)
    experiment.check_memory(state)
    cohort, server = rounds.cohort(state, 0, 0.0), experiment.server()
    down, up = (np.zeros(len(cohort.clients), np.int64) for _ in range(2))
    flops = np.zeros(len(cohort.clients))  # the FLOPs of a round may exceed int64
    for i, client in enumerate(cohort.clients[:most].tolist()):
        plan = experiment.plan(state, 0, client)
        cost = experiment.costs.of(plan, client)
        job = Job(client, 0, state, plan, float(cohort.shares[i]))
        up[i] = bytes_up(server, experiment.config.run.seed, job)
        down[i], flops[i] = cost.bytes_down, cost.flops
    return cohort, down, up, flops


def _model(experiment: Experiment) -> dict[str, Any]:
    """Return the size of the model, and the layers whose FLOPs are not counted."""
    layout, constants = experiment.layout, experiment.engine.constants
    return {
        "parameters": layout.size,
        "layers": len(layout.layers),
        "frozen": sum(values.size for values in constants.values()),
        "uncounted": layout.uncounted,
    }


def _without_gpu(resolved: Resolved) -> Resolved:
    """Return the same experiment on a processor, since an estimate must not need a GPU."""
    on_gpu = resolved.config.run.device == "cuda"
    return resolved.with_run(device="cpu", engine="batched") if on_gpu else resolved
