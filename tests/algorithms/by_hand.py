"""Algorithms on a layout small enough for hand work, and rounds with reports made by hand."""

import numpy as np

from fedmpi.algorithms import ALGORITHMS
from fedmpi.algorithms.base import Setting
from fedmpi.config import Optimizer
from fedmpi.plan import Plan, Report
from fedmpi.sparsity import coordinates
from tests.models import TINY

PRUNABLE = coordinates(TINY, (0, 2))


def made(name, layout=TINY, momentum=0.0, clients=10, **keys):
    cls = ALGORITHMS[name]
    setting = Setting(
        layout, 1, 100, clients, True, np.ones(clients), Optimizer(momentum=momentum)
    )
    return cls(cls.Keys(**keys), setting)


def report_of(weights, client=0, share=0.5, steps=1, lr=0.1, **statistics):
    weights = np.asarray(weights, np.float32)
    return Report(client, 1, 1, steps, share, 0.0, weights, lr=lr, statistics=statistics)


def one_round(algorithm, state, reports, round=0):
    """Plan, send, add and step, with Reports made by hand."""
    sums = algorithm.zero()
    for report in reports:
        plan = algorithm.plan(state, round, report.client)
        parts = algorithm.message(state, plan, report)
        held = {k: (np.where(s.mask(), v, 0).astype(np.float32), s) for k, (v, s) in parts.items()}
        memory = algorithm.remember(state, plan, report, held)
        algorithm._memory[report.client] = memory or {}
        more = {key: values for key, (values, _) in held.items()}
        weights, support = held["weights"]
        sent = Report(**vars(report) | {"weights": weights, "statistics": more})
        up = Plan(**{**vars(plan), "up": support})
        algorithm.add(sums, up, sent)
    return algorithm.step(state, sums, round)
