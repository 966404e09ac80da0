"""Epsilon beside closed forms, in the result of a run, and infinite if noise protects no client."""

import numpy as np
import pytest

from fedmpi import privacy
from fedmpi.privacy import Noise, Sampling, epsilon
from tests.algorithms.problem import simulate

pytest.importorskip("dp_accounting")
EVERYBODY = Sampling(100, 100, True)
PRIVATE = (
    "clients.weighting=uniform", "model.name=softmax",
    'stage=[{name="clip", norm=0.5}, {name="gaussian", norm=0.5, multiplier=4.0}]',
)  # fmt: skip


def by_hand(multiplier, rounds, delta):
    """Gaussian noise, replaced data: the smallest of all orders' bounds (Canonne et al. 2020)."""
    orders = np.linspace(1.01, 400, 400_000)
    divergence = rounds * orders / (2 * (multiplier / 2) ** 2)
    bound = divergence + np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)
    return bound.min()


@pytest.mark.parametrize(("multiplier", "rounds"), [(4.0, 1), (4.0, 10), (20.0, 100), (60.0, 5)])
def test_epsilon_of_everybody_is_that_of_the_gaussian_mechanism(multiplier, rounds):
    found = epsilon(Noise(multiplier, 1.0, 1e-5, False), EVERYBODY, rounds)
    want = by_hand(multiplier, rounds, 1e-5)
    assert want - 1e-6 <= found <= 1.02 * want  # the accountant looks at fewer orders


def test_a_uniform_sample_amplifies_and_nothing_else_does():
    noise, local = Noise(4.0, 1.0, 1e-5, False), Noise(4.0, 1.0, 1e-5, True)
    whole, sample = epsilon(noise, EVERYBODY, 50), epsilon(noise, Sampling(5, 100, True), 50)
    assert sample < 0.2 * whole
    assert epsilon(noise, Sampling(5, 100, False), 50) == whole
    assert epsilon(local, Sampling(5, 100, True), 50) == whole
    assert epsilon(Noise(0.0, 1.0, 1e-5, False), EVERYBODY, 1) == np.inf


def test_epsilon_is_unknown_without_the_accountant_but_infinite_without_noise(monkeypatch):
    monkeypatch.setattr(privacy, "find_spec", lambda name: None)
    found = [epsilon(Noise(multiplier, 1.0, 1e-5, False), EVERYBODY, 3) for multiplier in (4.0, 0)]
    assert np.isnan(found[0]) and found[1] == np.inf


def test_a_run_tells_its_epsilon_after_each_round():
    _, rows = simulate("fedavg", PRIVATE)
    noise, sampling = Noise(4.0, 0.5, 1e-5, False), Sampling(5, 12, True)
    told = [row.columns["epsilon"] for row in rows]
    assert told == [epsilon(noise, sampling, rounds + 1) for rounds in range(4)]
    assert np.isnan(simulate("fedavg", ("run.rounds=1",))[1][0].columns["epsilon"])
    # Behind noise of the clients anything may come; the noise of the server needs the norm.
    for at, after in (("client", "quantise"), ("server", "secure")):
        stages = f'[{{name="clip"}}, {{name="gaussian", at="{at}"}}, {{name="{after}"}}]'
        _, rows = simulate("fedavg", (*PRIVATE, "run.rounds=1", f"stage={stages}"))
        assert 0 < rows[0].columns["epsilon"] < np.inf


@pytest.mark.parametrize(
    "override",
    [
        "clients.selection=round-robin",
        "clients.selection=fair",
        "devices.availability=0.99",
        "devices={trace='on-off', on_s=50, off_s=0.1}",
        "schedule={mode='async', buffer_size=5}",
    ],
)
def test_a_cohort_that_is_no_uniform_sample_of_all_clients_does_not_amplify(override):
    _, rows = simulate("fedavg", (*PRIVATE, "run.rounds=1", override))
    found = epsilon(Noise(4.0, 0.5, 1e-5, False), Sampling(5, 12, False), 1)
    assert rows[0].columns["epsilon"] == found


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("fedavg", "clients.weighting=samples"),
        ("fedavg", "model.name=tests.algorithms.problem:convs"),  # has running statistics
        ("fedavg", 'stage=[{name="gaussian", norm=0.5, multiplier=4.0}]'),
        ("fedavg", 'stage=[{name="clip", norm=0.6}, {name="gaussian", norm=0.5}]'),
        ("fedavg", 'stage=[{name="clip"}, {name="topk", share=0.5}, {name="gaussian"}]'),
        ("fedavg", 'stage=[{name="clip"}, {name="gaussian"}, {name="quantise"}]'),
        ("scaffold", "run.seed=3"),
        ("fedskel", "run.seed=3"),
        ("fedavg", "clients.selection=power-of-choice"),  # the server reads the clients' losses
        ("fedavg", "clients.selection=oort"),
        ("sparsyfed", "run.seed=3"),  # zeros show what was sent
        ("fedsgc", "run.seed=3"),
        ("adp-v2", "algorithm.variant=released"),
    ],
)
def test_noise_that_protects_nobody_has_no_epsilon(name, override):
    _, rows = simulate(name, (*PRIVATE, "run.rounds=1", override))
    assert rows[0].columns["epsilon"] == np.inf
