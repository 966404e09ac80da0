"""The values of a message: 16 bits each, or no bits if all of them are 1."""

import numpy as np
import pytest

from fedmpi.comm import codec
from fedmpi.errors import MessageError
from tests.comm.test_codec import LENET, support_of


@pytest.mark.parametrize(("value_type", "digits"), [("float16", 11), ("bfloat16", 8)])
@pytest.mark.parametrize("density", [0.2, 1.0])
def test_sixteen_bit_values_are_half_the_bytes_and_round_to_nearest(
    rng, value_type, digits, density
):
    values = rng.standard_normal(LENET.size).astype(np.float32)
    support = support_of(rng, LENET, "coordinate", density)
    message = codec.encode(values, support, value_type=value_type)
    got, _back = codec.decode(message, LENET)
    kept = support.keep != 0
    assert codec.sizes(message).values == 2 * kept.sum()
    error = np.abs(got - values)[kept] / np.maximum(np.abs(values[kept]), 2.0**-14)
    assert 2.0 ** -(digits + 1) < error.max() <= 2.0**-digits
    assert (got[~kept] == 0).all()


def test_ones_take_a_bit_each_for_their_support_and_nothing_else(rng):
    ones = np.ones(LENET.size, np.float32)
    support = support_of(rng, LENET, "coordinate", 0.5)
    message = codec.encode(ones, support, value_type="ones")
    got, back = codec.decode(message, LENET)
    assert np.array_equal(got, support.keep) and back == support
    assert len(message) == codec.size_of(support, value_type="ones").total
    assert codec.sizes(message).values == 0 and len(message) < LENET.size / 8 + 500
    with pytest.raises(MessageError, match="not 1; leave out the stage"):
        codec.encode(2 * ones, support, value_type="ones")
