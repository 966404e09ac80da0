"""Bare training repeats the training of a run's clients, or says why it cannot."""

from types import SimpleNamespace

import numpy as np
import pytest

from fedmpi.bench import given
from fedmpi.bench.live import Bare
from fedmpi.comm.base import Serial
from fedmpi.errors import ConfigError
from fedmpi.exchange import Job
from fedmpi.experiment import resolve
from fedmpi.experiment.assemble import assemble

DRAWN = 'name = "synthetic-on-demand"\npartition = "natural"'
START = SimpleNamespace(data_root=None, cache=None, environ={})


def experiment(data, overrides=()):
    return resolve.resolve(f"""
[run]
rounds = 4
[data]
{data}
[clients]
number = 6
per_round = 2
batch_size = 8
[model]
name = "softmax"
[optimizer]
lr = 0.1
lr_decay = 0.5
momentum = 0.9
""", "test", overrides)


@pytest.mark.parametrize("data", [DRAWN, 'name = "patterns"\naugment = "crop-flip"\nimages = 90'])
def test_bare_training_has_the_weights_of_the_clients(data):
    resolved = experiment(data)
    bare, made = Bare(resolved, Serial(), START), assemble(resolved, Serial(), None)
    clients = bare._cohorts.cohort({}, 3, 0.0).clients.tolist()
    state = {"weights": made.weights}
    jobs = [Job(k, 3, state, made.plan(state, 3, k), 0.5) for k in clients]
    for trained, report in zip(bare.train(3), made.engine.train(jobs), strict=True):
        np.testing.assert_array_equal(trained, report.weights)
        assert not np.array_equal(trained, made.weights)


def test_what_cannot_be_trained_barely_is_refused():
    with pytest.raises(ConfigError, match=r"--bare: needs .* has 'sgd' and 'debug'"):
        Bare(experiment(DRAWN, overrides=["run.engine=debug"]), Serial(), START)


def test_drawn_samples_cannot_be_given_to_others(tmp_path):
    with pytest.raises(ConfigError, match="'synthetic-on-demand': clients draw their samples"):
        given.write(tmp_path, experiment(DRAWN), None, None)
    assert not list(tmp_path.iterdir())
