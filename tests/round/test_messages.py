"""What the post counts and hands on is what real messages would be and bring."""

import numpy as np
import pytest

from fedmpi.comm import codec
from fedmpi.comm.wire import VALUE_TYPES
from fedmpi.layout import LEVELS, Layer, Layout, Support, Tensor
from fedmpi.plan import Plan
from fedmpi.round.messages import Post

LAYOUT = Layout(
    (
        Tensor("a.weight", (6, 5), 0, 0, 6, True),
        Tensor("a.bias", (6,), 0, 30, 6, True),
        Tensor("b.weight", (3, 6), 1, 36, 3, True),
    ),
    (Layer("a", "linear", 6, 30), Layer("b", "linear", 3, 18)),
)


def support_of(rng, level, density):
    units = len(LAYOUT.starts(level)) - 1
    return Support(LAYOUT, level, (rng.random(units) < density).astype(np.uint8))


@pytest.mark.parametrize("density", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("value_type", VALUE_TYPES)
def test_letters_and_arrivals_are_those_of_encoded_messages(rng, value_type, level, density, known):
    values = rng.integers(0, 2**32, LAYOUT.size, np.uint32).view(np.float32)  # NaN and all
    support = support_of(rng, level, density)
    plan = Plan(down=support if known else Support.all(LAYOUT), up=support)
    arrived, (letter,) = Post(value_type).up(plan, {"weights": (values, support)})
    message = codec.encode(values, support, known=known, value_type=value_type)
    assert letter.size == codec.sizes(message) and letter.support is support
    told, _ = codec.decode(message, LAYOUT, known=support)
    got, same = arrived["weights"]
    assert same is support
    np.testing.assert_array_equal(got.view(np.uint32), told.view(np.uint32))


def test_weights_come_first_and_equal_supports_cost_the_same(rng):
    values, support = np.ones(LAYOUT.size, np.float32), support_of(rng, "row", 0.5)
    other = Support(LAYOUT, "row", support.keep.copy())
    plan = Plan(down=Support.all(LAYOUT), up=support)
    _, letters = Post().up(plan, {"control": (values, other), "weights": (values, support)})
    assert letters[0].support is support and letters[0].size == letters[1].size
