"""The mean over the clients that cover a unit, worked out by hand."""

import numpy as np
import pytest

from fedmpi.errors import ClientError, FedmpiError
from fedmpi.layout import ONE, Support
from fedmpi.totals import Pending, Total, one_client, union
from tests.models import TINY, WEIGHTS


def rows(first, second):
    return Support.of_rows(TINY, [np.array(first, bool), np.array(second, bool)])


@pytest.mark.parametrize("exact", [True, False])
def test_the_mean_is_over_those_who_cover_a_row(exact):
    total = Total(TINY, "row", exact=exact)
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


def test_what_was_not_sent_counts_as_zero_or_as_the_old_value():
    """Row a0 of two clients with shares 0.25 and 0.75: the first alone, the second alone, both."""
    for fill, alone in (("zero", [0.25, 0.0]), ("old", [0.25, 0.75])):
        total = Total(TINY, "row", fill)
        total.add(np.full(20, 8, np.float32), 0.25, rows([1, 0], [1, 1, 1]))
        total.add(np.full(20, 4, np.float32), 0.75, rows([0, 0], [1, 1, 0]))
        mean, (sent, old) = total.mean(WEIGHTS), alone
        np.testing.assert_allclose(mean[:3], sent * 8 + old * WEIGHTS[:3], rtol=1e-6)
        untouched = np.zeros(3) if fill == "zero" else WEIGHTS[3:6]
        np.testing.assert_array_equal(mean[3:6], untouched)
        assert (mean[8:12] == 5).all() and total.weight == 1.0
        assert total.covered == pytest.approx((3 + 1 + 3 * (2 + 1 + 1)) / 20)


@pytest.mark.parametrize("fill", ["mean", "zero", "old"])
def test_if_everybody_sends_everything_the_fill_makes_no_difference(fill):
    rng, total, plain = np.random.default_rng(3), Total(TINY, "coordinate", fill), Total(TINY)
    for share in (0.3, 0.6, 0.1):
        values = rng.standard_normal(20).astype(np.float32)
        total.add(values, share)
        plain.add(values, share)
    np.testing.assert_array_equal(total.mean(WEIGHTS), plain.mean(WEIGHTS))
    nobody = Total(TINY, "coordinate", fill).mean(WEIGHTS)
    np.testing.assert_array_equal(nobody, WEIGHTS)


LIMIT = float(np.nextafter(np.float32(2**18), np.float32(0)))  # the largest that fits


@pytest.mark.parametrize("layout", [TINY, ONE])
def test_a_number_at_the_limit_is_summed_and_a_step_beyond_is_refused(layout):
    """The largest magnitude that fits comes out as it went in, with the sign and all its bits."""
    for value in (LIMIT, -LIMIT):
        total = Total(layout)
        total.add(np.full(layout.size, value, np.float32), 0.5)
        total.add(np.full(layout.size, value, np.float32), 0.5)
        assert total.mean(np.zeros(layout.size, np.float32)).tolist() == [value] * layout.size
    for value in (2.0**18, -(2.0**18), 6e5, np.inf, np.nan):
        total, values = Total(layout), np.zeros(layout.size, np.float32)
        values[-1] = value
        said = "is too large for" if np.isfinite(value) else "NaN or infinity in"
        with pytest.raises(ClientError, match=rf"{said} a sum .* below 262,144"):
            total.add(values, 0.5)
        assert not total.sum.any() and not total.touched.any() and total.weight == 0


def test_shares_beyond_one_are_refused_before_a_sum_can_wrap():
    total = Total(TINY)
    total.add(WEIGHTS, 0.7)
    for share in (0.4, -0.1, np.nan, 17.0):
        with pytest.raises(FedmpiError, match=r"share .* after 0\.7; .* add up to at most 1"):
            total.add(WEIGHTS, share)
    total.add(WEIGHTS, 0.0)
    assert total.weight == pytest.approx(0.7)


@pytest.mark.parametrize("clients", [78, 10_000])
def test_shares_of_many_clients_add_up_to_one_in_a_fast_sum_too(clients):
    total, old = Total(ONE, exact=False), np.zeros(1, np.float32)
    for _ in range(clients):
        total.add(np.full(1, 3, np.float32), 1 / clients)
    assert total.weight == pytest.approx(1, abs=1e-7)
    assert total.mean(old).tolist() == pytest.approx([3], rel=1e-3)  # float32 drifts
    with pytest.raises(FedmpiError, match=r"share 0\.01 after 1; .* add up to at most 1"):
        total.add(np.ones(1, np.float32), 0.01)


@pytest.mark.parametrize(("values", "found"), [
    (np.ones(5, np.float32), r"float32\[5\]"),
    (np.ones((4, 5), np.float32), r"float32\[4, 5\]"),
    (np.linspace(0, 1, 20), r"float64\[20\]"),
    (np.ones(20, np.int32), r"int32\[20\]"),
    ([1.0] * 20, "list"),
])
def test_values_of_another_form_are_refused_before_a_kernel_reads_them(values, found):
    """A kernel would read beyond a short array, and the bits of a float64 as two numbers."""
    total = Total(TINY)
    for given in (total, Pending("weights", total)):
        with pytest.raises(FedmpiError, match=rf"got values {found}; they must be float32\[20\]"):
            given.add(values, 0.5)
    assert not total.sum.any() and not total.touched.any() and total.weight == 0


@pytest.mark.parametrize(("support", "found"), [
    (Support.all(ONE), "model with 1 flags for 1 coordinates"),
    (Support(TINY, "layer", np.ones(1, np.uint8)), "layer with 1 flags for 20 coordinates"),
])
def test_a_support_of_another_model_or_without_some_flags_is_refused(support, found):
    total = Total(TINY, "row")
    with pytest.raises(FedmpiError, match=rf"support by {found}; .* sum's model, which has 20"):
        total.add(WEIGHTS, 0.5, support)
    assert not total.sum.any() and not total.touched.any() and total.weight == 0


def test_a_support_that_is_finer_than_the_sum_is_refused_before_anything_is_added():
    total = Total(TINY, "layer")
    with pytest.raises(FedmpiError, match=r'by layer got a support by row; .* level = "row"'):
        total.add(WEIGHTS, 0.5, rows([1, 0], [1, 1, 0]))
    assert not total.sum.any() and total.weight == 0


def test_one_clients_additions_count_together_or_not_at_all():
    sums = {"weights": Total(TINY), "loss": Total(ONE)}

    def give(loss):
        with one_client(sums) as own:
            own["weights"].add(WEIGHTS, 0.5)
            own["loss"].add(np.array([loss], np.float32), 0.5)

    with pytest.raises(ClientError, match="its loss: 600000 is too large"):
        give(6e5)
    assert not any(total.touched.any() or total.sum.any() for total in sums.values())
    give(3)
    assert sums["loss"].mean(np.zeros(1, np.float32)).tolist() == [3]


def test_an_array_may_be_used_again_after_it_was_added():
    """A method of a user may square its change in place; arrays of the message are not copied."""
    sums, part = {"change": Total(ONE), "squares": Total(ONE)}, np.full(1, 2, np.float32)
    with one_client(sums, [part]) as own:
        change = np.full(1, 3, np.float32)
        own["change"].add(change, 0.5)
        np.square(change, out=change)
        own["squares"].add(change, 0.5)
        change[:] = np.nan
        own["change"].add(part, 0.5)
        assert own["change"]._waiting[-1][0] is part
    old = np.zeros(1, np.float32)
    assert sums["change"].mean(old).tolist() == [2.5] and sums["squares"].mean(old).tolist() == [9]


def test_what_one_client_adds_twice_counts_twice_against_the_limit_of_shares():
    total = Total(TINY)

    def give_twice():
        with one_client({"weights": total}) as own:
            own["weights"].add(WEIGHTS, 0.6)
            own["weights"].add(WEIGHTS, 0.6)

    with pytest.raises(FedmpiError, match=r"share 0\.6 after 0\.6; .* add up to at most 1"):
        give_twice()
    assert total.weight == 0 and not total.sum.any()


def test_a_union_is_that_of_all_sums_over_models():
    first, second, number = Total(TINY, "row"), Total(TINY, "layer", "zero"), Total(ONE)
    number.add(np.ones(1, np.float32), 0.5)
    assert union({"number": number}, TINY) == 0
    first.add(WEIGHTS, 0.5, rows([1, 0], [1, 0, 0]))
    sums = {"one": first, "two": second, "number": number}
    assert union(sums, TINY) == pytest.approx((3 + 1 + 2 + 1 + 1) / 20)
    second.add(WEIGHTS, 0.5, Support(TINY, "layer", np.array([1, 0], np.uint8)))
    assert union(sums, TINY) == pytest.approx((8 + 2 + 1 + 1) / 20)


def test_noise_counts_in_every_coordinate_of_the_mean():
    noise = np.linspace(-1, 1, 20)
    for fill in ("mean", "zero", "old"):
        plain, noisy = Total(TINY, "row", fill), Total(TINY, "row", fill)
        for total in (plain, noisy):
            total.add(WEIGHTS, 0.5, rows([1, 0], [1, 1, 0]))
        noisy.shift(noise)
        found = noisy.mean(WEIGHTS) - plain.mean(WEIGHTS)
        np.testing.assert_allclose(found, noise / 0.5, atol=1e-6)
        empty = Total(TINY, "row", fill)
        empty.shift(noise)
        np.testing.assert_array_equal(empty.mean(WEIGHTS), WEIGHTS)
