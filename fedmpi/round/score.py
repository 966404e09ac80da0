"""Evaluate the global model and the models that the clients actually have."""

from dataclasses import replace

import numpy as np

from fedmpi import planned
from fedmpi.arrays import State, Vector
from fedmpi.comm.base import Comm
from fedmpi.errors import ClientError
from fedmpi.learn.evaluate import OwnScore, Score, evaluate, with_statistics
from fedmpi.plan import Own
from fedmpi.rng import rng_for
from fedmpi.round.fixed import Experiment
from fedmpi.totals import Total


def score_of(experiment: Experiment, state: State, round: int, comm: Comm) -> Score | None:
    """Return the Score of a round's `state`, or None if none is due; collective over `comm`.

    A Score is due every run.eval_every rounds and in the last round, if there are test samples.
    If the method keeps parts of the model with its clients, up to run.own_models clients are drawn,
    and the model of each is evaluated on the rank that holds its memory. Counts are integers, so
    the Score is the same for any number of ranks.
    """
    run = experiment.config.run
    due = not (round + 1) % run.eval_every or round + 1 == run.rounds
    if not due or not len(experiment.test):
        return None
    algorithm, classes = experiment.algorithm, experiment.dataset.classes
    if algorithm.static_norm:
        state = {**state, "weights": with_statistics(experiment.engine, state["weights"], comm)}
    metrics, most = experiment.metrics, run.own_models
    found = evaluate(experiment.engine, state["weights"], experiment.test, classes, comm, metrics)
    if not (algorithm.personal and most and found.count.any()):
        return found
    able = np.flatnonzero(experiment.test_split.sizes)
    if not len(able):
        return found
    clients = able
    if len(able) > most:
        rng = rng_for(experiment.config.run.seed, "own-models", round)
        clients = np.sort(rng.choice(able, most, replace=False, shuffle=False))
    tally, mean = np.zeros((2, len(clients)), np.int64), _Mean(experiment, len(clients))
    ranks = experiment.memories.ranks_for(clients, comm.size)
    for place in np.flatnonzero(ranks == comm.rank).tolist():
        client = int(clients[place])
        own = algorithm.own(state, client)
        planned.own(own, experiment.layout, algorithm)
        mean.add(own, state["weights"])
        if own is not None:
            index = experiment.test_split.of(client)
            tally[:, place] = experiment.engine.right_answers(own, experiment.test, index)
    right, count = comm.sum_array(tally)
    weights, of_mean = mean.over(comm, state["weights"]), np.nan
    if weights is not None:
        of_mean = evaluate(experiment.engine, weights, experiment.test, classes, comm).accuracy
    return replace(found, own=OwnScore(clients, right, count, len(able), of_mean))


class _Mean:
    """The unweighted mean of clients' own models, summed as exactly as the sums of a round."""

    def __init__(self, experiment: Experiment, clients: int) -> None:
        self._total = Total(experiment.layout)
        self._share, self._odd = 1 / clients, np.zeros(1, np.int64)

    def add(self, own: Own | None, weights: Vector) -> None:
        """Add an Own, or the global `weights` if it is None.

        The mean does not exist if any client has a smaller network or private parts, or numbers
        that the sum cannot hold.
        """
        if own is not None and (own.submodel is not None or own.private is not None):
            self._odd += 1
            return
        try:
            self._total.add(weights if own is None else own.weights, self._share)
        except ClientError:
            self._odd += 1

    def over(self, comm: Comm, old: Vector) -> Vector | None:
        """Return the mean over the clients of all ranks, float32[P], or None if none exists."""
        for array in (self._odd, self._total.sum, self._total.cover):
            comm.sum_array(array)
        return None if self._odd[0] else self._total.mean(old)
