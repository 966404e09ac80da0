"""Predict the size of a message before its client has trained, from made-up values."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedmpi.arrays import State, Vector
from fedmpi.exchange import Job, Part, Report
from fedmpi.layout import Layout, Support
from fedmpi.plan import Plan, Submodel
from fedmpi.rng import rng_for
from fedmpi.round.messages import Messages
from fedmpi.round.visit import Server, outgoing
from fedmpi.stage import within
from fedmpi.stages import Stage, applied
from fedmpi.units import inputs_of

SCALE = 1e-3  # scale of the made-up changes; no size depends on it


def bytes_up(server: Server, seed: int, job: Job) -> int:
    """Return the predicted number of bytes that the client of a Job will send.

    The number is exact if the size follows from the plan, as with SCAFFOLD and quantisation. For
    sparse messages the number of entries is exact, but their positions are random. ADP v2 is
    assumed to send everything that it may send.
    """
    algorithm = server.algorithm
    if not server.resizes and algorithm.sends_as_planned:
        return server.messages.planned_up(job.plan).bytes.total
    out = outgoing(server, job, _made_up(job, algorithm.layout, seed))
    return sum(part.bytes.total for part in out.sizes)


def weights_up(
    stages: Sequence[Stage], messages: Messages, seed: int, state: State, plan: Plan
) -> int:
    """Return the predicted bytes of the weights that a Plan sends, after the stages.

    The number is the same for all clients and rounds. `state` is the server's state that the
    stages see. The number is exact if the size after a stage follows from the support, as with
    quantise and secure.
    """
    if not any(stage.resizes for stage in stages):
        return messages.planned_up(plan).bytes.total
    drawn = rng_for(seed, "dry-run", 0, 0).standard_normal(plan.up.layout.size, np.float32)
    part = Part(within(np.float32(SCALE) * drawn, plan.up), plan.up)
    sent, _ = applied(stages, None, Job(0, 0, state, plan, 0.0), {"weights": part}, {})
    _, up, _ = messages.up(plan, sent)
    return sum(message.bytes.total for message in up)


def _made_up(job: Job, layout: Layout, seed: int) -> Report:
    """Return a Report in which all weights that may move have moved at random."""
    plan, trained = job.plan, layout.trained
    start = job.state["weights"] if plan.start is None else plan.start
    drawn = rng_for(seed, "dry-run", job.round, job.client).standard_normal(layout.size, np.float32)
    moved = trained if plan.update is None else trained & (plan.update != 0)
    weights = start + np.where(moved, np.float32(SCALE) * drawn, np.float32(0))
    measured = {name: _measured(name, plan, layout, drawn) for name in plan.statistics}
    return Report(job.client, 1, 1, 1, 0.0, weights, lr=1.0, statistics=measured)


def _measured(name: str, plan: Plan, layout: Layout, drawn: Vector) -> Any:
    """Return a made-up statistic `name` that a Plan may ask for, with numbers from `drawn`."""
    if name == "moved":
        return np.ones(layout.size, bool)
    if name == "mask":
        return Support.all(layout).mask() if plan.mask is None else plan.mask
    if name in ("activations", "relevance"):
        return [np.resize(np.abs(drawn), layer.rows) for layer in layout.layers]
    if name == "columns":
        return [np.resize(drawn, size) for size in _inputs(layout, plan.submodel)]
    return drawn**2 if name == "squares" else drawn


def _inputs(layout: Layout, part: Submodel | None) -> list[int]:
    """Return the number of inputs of each layer in the client's network, a submodel or whole."""
    sizes = inputs_of(layout)
    if part is None or part.rows is None:
        return sizes
    before = [(1, 1), *((sum(keep), len(keep)) for keep in part.rows[:-1])]
    return [size // rows * left for size, (left, rows) in zip(sizes, before, strict=True)]
