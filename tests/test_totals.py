"""The mean over those who cover a unit, worked out by hand."""

import numpy as np
import pytest

from fedmpi.layout import Support
from fedmpi.totals import Total, fits
from tests.models import TINY, WEIGHTS


def rows(first, second):
    return Support.of_rows(TINY, [np.array(first, bool), np.array(second, bool)])


@pytest.mark.parametrize("exact", [True, False])
def test_the_mean_is_over_those_who_cover_a_row(exact):
    total = Total(TINY, "row", exact)
    ones, fives = np.ones(20, np.float32), np.full(20, 5, np.float32)
    total.add(ones, 0.25, rows([1, 0], [1, 1, 0]))
    total.add(fives, 0.75, rows([1, 0], [0, 1, 0]))
    mean = total.mean(WEIGHTS)
    assert mean[:3].tolist() == [4, 4, 4]  # row a0: 0.25 of 1 and 0.75 of 5
    np.testing.assert_array_equal(mean[3:6], WEIGHTS[3:6])  # row a1: nobody, so as it was
    assert mean[6] == 4 and mean[7] == WEIGHTS[7]  # its bias goes with the row
    assert mean[8:10].tolist() == [1, 1]  # row b0: the first client alone
    assert mean[10:12].tolist() == [4, 4]
    assert total.covered == pytest.approx((3 + 1 + 2 * (2 + 1 + 1)) / 20)


def test_values_outside_the_support_are_not_read():
    total = Total(TINY, "layer")
    total.add(np.where(np.arange(20) < 8, np.nan, 2).astype(np.float32), 1.0,
              Support(TINY, "layer", np.array([0, 1], np.uint8)))
    assert np.array_equal(total.mean(WEIGHTS)[:8], WEIGHTS[:8])
    assert (total.mean(WEIGHTS)[8:] == 2).all()


def test_a_whole_model_in_a_total_of_rows_gives_the_same_bits_as_in_one_of_models():
    rng = np.random.default_rng(0)
    coarse, fine = Total(TINY, "model"), Total(TINY, "coordinate")
    for share in (0.1, 0.2, 0.7):
        values = rng.standard_normal(20).astype(np.float32)
        coarse.add(values, share)
        fine.add(values, share)
    np.testing.assert_array_equal(coarse.mean(WEIGHTS), fine.mean(WEIGHTS))


def test_what_does_not_fit_an_exact_sum_is_told():
    for bad in (np.nan, np.inf, -np.inf, 2.0**18):
        assert not fits(np.array([0, bad], np.float32))
    assert fits(np.array([0, 2.0**17], np.float32))
