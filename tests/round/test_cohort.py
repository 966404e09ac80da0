"""Cohorts: drawn from seed and round alone, shares that add up to one."""

import numpy as np
import pytest

from fedmpi.round.cohort import cohort_of

SIZES = np.array([5, 0, 10, 20, 15, 0, 50])


def test_a_cohort_is_a_function_of_seed_and_round():
    draws = [cohort_of(s, r, SIZES, 3, "samples").clients.tolist() for s, r in
             [(0, 0), (0, 0), (0, 1), (1, 0)] * 2]
    assert draws[0] == draws[1] == draws[4]
    everyone = {tuple(cohort_of(0, r, SIZES, 3, "samples").clients) for r in range(50)}
    assert len(everyone) > 5


def test_clients_without_samples_are_never_drawn_and_all_others_are():
    seen = {int(c) for r in range(100) for c in cohort_of(0, r, SIZES, 2, "samples").clients}
    assert seen == {0, 2, 3, 4, 6}


def test_shares_are_in_proportion_to_samples_or_equal():
    cohort = cohort_of(0, 0, SIZES, 5, "samples")
    assert cohort.clients.tolist() == [0, 2, 3, 4, 6]
    np.testing.assert_allclose(cohort.shares, [0.05, 0.1, 0.2, 0.15, 0.5])
    assert cohort_of(0, 0, SIZES, 5, "uniform").shares.tolist() == [0.2] * 5


def test_each_client_is_drawn_about_equally_often():
    cohorts = [cohort_of(3, r, np.ones(20), 5, "samples") for r in range(2000)]
    draws = np.concatenate([cohort.clients for cohort in cohorts])
    assert np.bincount(draws).std() == pytest.approx(np.sqrt(2000 * 0.25 * 0.75), rel=0.4)
