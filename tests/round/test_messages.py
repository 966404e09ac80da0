"""Counted bytes and received values are those of real messages."""

import weakref

import numpy as np
import pytest

from fedmpi.comm import codec
from fedmpi.comm.wire import INTEGERS, VALUE_TYPES
from fedmpi.exchange import Coding, Part
from fedmpi.layout import LEVELS, Layer, Layout, Support, Tensor
from fedmpi.plan import Plan
from fedmpi.round.messages import KEPT, Messages

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
def test_sizes_and_arrivals_are_those_of_encoded_messages(rng, value_type, level, density, known):
    values, support, coding, scales = bits(rng), support_of(rng, level, density), None, None
    if value_type in INTEGERS:
        scales = rng.random(3, np.float32)
        steps = np.repeat(scales, np.diff(LAYOUT.starts("tensor")))
        values = rng.integers(-7, 8, LAYOUT.size).astype(np.float32) * steps
        coding = Coding(value_type, scales)
    if value_type == "ones":
        values, coding = np.ones(LAYOUT.size, np.float32), Coding("ones")
    held = Support(LAYOUT, level, support.keep.copy())  # equal, and another object
    plan = Plan(down=held if known else Support.all(LAYOUT), up=support)
    messages = Messages("float32" if coding else value_type)
    arrived, (message,), sent = messages.up(plan, {"weights": Part(values, support, 0, coding)})
    encoded = codec.encode(values, support, known=known, value_type=value_type, scales=scales)
    assert message.bytes == codec.sizes(encoded) and sent == support
    assert message.layers.sum() == message.bytes.values or not support.size
    decoded, _ = codec.decode(encoded, LAYOUT, known=support)
    got, same, size, _ = arrived["weights"]
    assert same == support and size == len(encoded)
    np.testing.assert_array_equal(got.view(np.uint32), decoded.view(np.uint32))
    if coding:  # values on the steps arrive unchanged
        np.testing.assert_array_equal(got, np.where(support.mask(), values, 0))


def bits(rng):
    """Values of any bits, NaN included."""
    return rng.integers(0, 2**32, LAYOUT.size, np.uint32).view(np.float32)


def test_weights_come_first_and_equal_supports_cost_the_same(rng):
    values, support = np.ones(LAYOUT.size, np.float32), support_of(rng, "row", 0.5)
    other = Support(LAYOUT, "row", support.keep.copy())
    plan = Plan(down=Support.all(LAYOUT), up=support)
    parts = {"control": Part(values, other), "weights": Part(values, support)}
    arrived, (first, second), sent = Messages().up(plan, parts)
    assert list(arrived) == ["weights", "control"] and first is second and sent == support


def test_of_a_support_that_the_server_draws_itself_a_hash_is_sent(rng):
    layout = Layout((Tensor("a", (4096,), 0, 0, 1, True),), (Layer("a", "other", 1, 0),))
    drawn, other = (Support(layout, "coordinate", rng.random(4096) < 0.5) for _ in range(2))
    values = np.ones(layout.size, np.float32)
    parts = {"weights": Part(values, drawn), "more": Part(values, other)}
    plan = Plan(down=Support.all(layout), up=drawn, known_up=True)
    _, (first, second), _ = Messages().up(plan, parts)
    assert (first.bytes.support, second.bytes.support) == (16, 512)
    assert Messages().planned_up(plan).bytes == first.bytes


def test_what_is_sent_is_the_union_of_all_parts(rng):
    values, plan = np.ones(LAYOUT.size, np.float32), Plan(Support.all(LAYOUT), Support.all(LAYOUT))
    rows, tensors = support_of(rng, "row", 0.5), support_of(rng, "tensor", 0.5)
    parts = {"weights": Part(values, rows), "more": Part(values, tensors)}
    *_, sent = Messages().up(plan, parts)
    np.testing.assert_array_equal(sent.mask(), rows.mask() | tensors.mask())


def test_a_client_receives_the_parts_of_its_plan_in_float32_and_what_a_stage_adds(rng):
    rows, bits = support_of(rng, "row", 0.5), support_of(rng, "coordinate", 0.5)
    more, values = support_of(rng, "tensor", 0.7), np.ones(LAYOUT.size, np.float32)
    plan = Plan(rows, rows, more_down={"control": more}, bits_down={"mask": bits})
    found = Messages("float16", more_down=7).down(plan)
    ways = (rows, "float32"), (more, "float32"), (bits, "ones")
    sizes = [len(codec.encode(values, support, value_type=kind)) for support, kind in ways]
    assert [part.bytes.total for part in found] == [*sizes, 7]
    counts = [4 * rows.size, 4 * more.size, found[2].bytes.values, 0]
    assert [part.layers.sum() for part in found] == counts
    assert len(Messages().down(plan)) == 3


def test_a_support_that_the_receiver_knows_takes_the_16_bytes_of_its_hash(rng):
    layout = Layout((Tensor("a", (400, 2), 0, 0, 400, True),), (Layer("a", "linear", 400, 800),))
    one, other = (Support(layout, "row", rng.integers(0, 2, 400, np.uint8)) for _ in range(2))
    parts = {"weights": Part(np.ones(800, np.float32), one)}
    down = [Messages().down(Plan(one, one, known))[0].bytes.support for known in (True, False)]
    up = [Messages().up(Plan(held, one), parts)[1][0].bytes.support for held in (one, other)]
    planned = [Messages().planned_up(Plan(held, one)).bytes.support for held in (one, other)]
    assert down == up == planned == [16, 50]


def test_sizes_are_kept_and_supports_are_not(rng):
    """A support without other holders is freed, and its size is found again by its value."""
    messages, support = Messages(), support_of(rng, "coordinate", 0.5)
    first, keep = messages.sized(support, "float32"), support.keep.copy()
    gone = weakref.ref(support)
    del support
    assert gone() is None
    assert messages.sized(Support(LAYOUT, "coordinate", keep), "float32") is first


def test_sizes_of_ever_new_supports_take_no_more_memory():
    messages, whole = Messages(), Support.all(LAYOUT)
    for number in range(2 * KEPT):
        keep = np.array([number >> bit & 1 for bit in range(LAYOUT.size)], np.uint8)
        found = messages.sized(Support(LAYOUT, "coordinate", keep), "float32")
        assert found.bytes.values == 4 * keep.sum() and len(messages._sizes) <= KEPT
    assert messages.planned_up(Plan(whole, whole)).bytes.values == 4 * LAYOUT.size


def test_bytes_of_layers_are_right_where_their_products_do_not_fit_64_bits():
    """4e9 coordinates times their 16e9 bytes; the starts of all levels would take 100 GB."""
    half = 2**31
    tensors = Tensor("a", (half,), 0, 0, 1, True), Tensor("b", (half - 1,), 1, half, 1, True)
    layout = Layout(tensors, (Layer("a", "other", 1, 0), Layer("b", "other", 1, 0)))
    vars(layout)["_starts"] = {"layer": np.array([0, half, 2 * half - 1])}
    size = Messages().sized(Support(layout, "layer", np.ones(2, np.uint8)), "float32")
    assert size.layers.tolist() == [4 * half, 4 * half - 4] and size.layers.dtype == np.int64
    assert size.bytes.values == size.layers.sum()
