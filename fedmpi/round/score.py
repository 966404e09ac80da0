"""How good the global model is, and the models that the clients really have."""

from dataclasses import replace

import numpy as np

from fedmpi.learn.evaluate import OwnScore, evaluate
from fedmpi.rng import rng_for


def score_of(experiment, state, round, comm):
    """Return the Score of a round's `state`; collective over `comm`.

    Where the method keeps parts of the model with its clients, up to run.own_models clients are
    drawn, and each is asked for its own model by the rank that holds its memory. Counts are
    integers, so the Score is the same for any number of ranks.
    """
    algorithm, classes = experiment.algorithm, experiment.dataset.classes
    metrics = experiment.metrics
    found = evaluate(experiment.engine, state["weights"], experiment.test, classes, comm, metrics)
    able = np.flatnonzero(experiment.test_split.sizes)
    most = experiment.config.run.own_models
    if not (algorithm.personal and len(able) and most and found.count.any()):
        return found
    clients = able
    if len(able) > most:
        rng = rng_for(experiment.config.run.seed, "own-models", round)
        clients = np.sort(rng.choice(able, most, replace=False, shuffle=False))
    tally = np.zeros((2, len(clients)), np.int64)
    homes = experiment.memories.homes_of(clients)
    homes = np.where(homes < 0, clients % comm.size, homes)
    for place in np.flatnonzero(homes == comm.rank).tolist():
        client = int(clients[place])
        own = algorithm.own(state, client)
        if own is not None:
            index = experiment.test_split.of(client)
            tally[:, place] = experiment.engine.right_answers(own, experiment.test, index)
    comm.sum_array(tally)
    return replace(found, own=OwnScore(clients, *tally, among=len(able)))
