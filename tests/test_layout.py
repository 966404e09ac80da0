"""Units of a layout, and supports made of them."""

import numpy as np
import pytest

from fedmpi.comm import codec
from fedmpi.layout import LEVELS, Support
from tests.models import TINY, WEIGHTS


def test_units_of_every_level_cut_the_whole_vector():
    assert TINY.size == 20
    assert TINY.starts("model").tolist() == [0, 20]
    assert TINY.starts("layer").tolist() == [0, 8, 20]
    assert TINY.starts("tensor").tolist() == [0, 6, 8, 14, 17, 20]
    assert TINY.starts("row").tolist() == [0, 3, 6, 7, 8, 10, 12, 14, 15, 16, 17, 18, 19, 20]
    assert TINY.starts("coordinate").tolist() == list(range(21))


def test_running_statistics_are_not_trained():
    assert np.flatnonzero(~TINY.trained).tolist() == [17, 18, 19]


def test_a_row_is_its_part_of_every_tensor_of_the_layer():
    support = Support.of_rows(TINY, [None, np.array([True, False, True])])
    dropped = np.flatnonzero(support.mask() == 0)
    assert dropped.tolist() == [10, 11, 15, 18]
    assert support.size == 16 and not support.whole
    assert support.layer_counts.tolist() == [8, 8]


def test_tensors_of_a_layer_share_its_rows_but_running_statistics_of_one_number_do_not():
    first, of = TINY.shared_rows
    assert first.tolist() == [0, 1, 4, 5, 6]
    assert of.tolist() == [0, 1, 0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4][: len(of)]


@pytest.mark.parametrize("level", LEVELS)
def test_everything_is_everything_at_every_level(level):
    support = Support.all(TINY).at(level)
    assert support.whole and support.mask().all()
    assert support.layer_counts.tolist() == [8, 12]


@pytest.mark.parametrize("level", LEVELS[1:])
def test_a_finer_form_of_a_support_holds_the_same_coordinates(level):
    layers = Support(TINY, "layer", np.array([0, 1], np.uint8))
    np.testing.assert_array_equal(layers.at(level).mask(), layers.mask())
    assert layers.at(level).layer_counts.tolist() == [0, 12]


def test_a_support_has_no_coarser_form():
    with pytest.raises(ValueError, match="level row has no form at level layer"):
        Support.all(TINY).at("row").at("layer")


def test_flags_of_a_larger_array_or_of_bools_are_read_as_bytes(rng):
    table = rng.random((TINY.size, 2)) < 0.5
    wanted = Support(TINY, "coordinate", table[:, 0].astype(np.uint8))
    for keep in (table[:, 0], table.astype(np.uint8)[:, 0]):
        found = Support(TINY, "coordinate", keep)
        assert found == wanted and found.keep.dtype == np.uint8
        assert codec.size_of(found) == codec.size_of(wanted)
        np.testing.assert_array_equal(codec.received(WEIGHTS, found), WEIGHTS * table[:, 0])
