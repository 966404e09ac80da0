"""Algorithms on a layout small enough for hand work, and rounds with reports made by hand."""

import numpy as np

from fedmpi.algorithms import ALGORITHMS
from fedmpi.config import OptimizerSection
from fedmpi.exchange import Arrival, Job, Part, Report
from fedmpi.round.memories import ClientStore
from fedmpi.round.messages import Messages
from fedmpi.round.visit import Server, add_arrival, visit
from fedmpi.setting import Setting
from fedmpi.sparsity import coordinates
from tests.models import TINY

PRUNABLE = coordinates(TINY, (0, 2))


def made(name, layout=TINY, momentum=0.0, clients=10, setting=None, **keys):
    """Return an algorithm whose clients' memories are in `setting.memory.__self__`."""
    cls, store = ALGORITHMS[name], ClientStore()
    given = {"memory": store.__getitem__} | (setting or {})
    optimizer = OptimizerSection(momentum=momentum)
    ours = Setting(layout, 1, 100, clients, True, np.ones(clients), optimizer, **given)
    return cls(cls.Keys(**keys), ours)


def report_of(weights, client=0, share=0.5, steps=1, lr=0.1, **statistics):
    """Return a Report, and the share of its client."""
    weights = np.asarray(weights, np.float32)
    return Report(client, 1, 1, steps, 0.0, weights, lr=lr, statistics=statistics), share


def arrival_of(values, support, share=0.5, client=0, name="weights", loss=0.0):
    """Return the Arrival of a message with one part."""
    return Arrival(client, share, 1, loss, {name: Part(np.asarray(values, np.float32), support)})


def one_round(algorithm, state, reports, round=0):
    """Plan, visit, add and step, with (Report, share) made by hand."""
    sums, store = algorithm.zero(), algorithm.setting.memory.__self__
    server = Server(algorithm, (), Messages(), store.__getitem__)
    for report, share in reports:
        plan = algorithm.plan(state, round, report.client)
        done = visit(server, Job(report.client, round, state, plan, share), report)
        done = add_arrival(algorithm, sums, done, done.arrival)
        if done.memory is not None:
            store.prepare(report.client, done.memory)
    store.commit()
    return algorithm.step(state, sums, round)
