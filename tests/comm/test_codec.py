"""The wire codec: values survive it, in the number of bytes that the table of formats gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmpi import kernels
from fedmpi.comm import codec, formats, supports, wire
from fedmpi.errors import MessageError
from fedmpi.layout import LEVELS, Layer, Layout, Support, Tensor
from tests.comm.fuzz_codec import fuzz


def layout_of(*layers):
    """Return a Layout; a layer is (rows, [(shape, rows of the tensor), ...])."""
    tensors, start = [], 0
    for index, (_, parts) in enumerate(layers):
        for part, (shape, rows) in enumerate(parts):
            tensors.append(Tensor(f"{index}.{part}", shape, index, start, rows, True))
            start += tensors[-1].size
    kinds = [Layer(str(index), "other", rows, 0) for index, (rows, _) in enumerate(layers)]
    return Layout(tuple(tensors), tuple(kinds))


def dense(rows, columns):
    """Return a layer of `rows` units with a weight and a bias."""
    return rows, [((rows, columns), rows), ((rows,), rows)]


LENET = layout_of(*map(dense, (6, 16, 120, 84, 10), (25, 150, 400, 120, 84)))
NORMED = layout_of((8, [((8, 3), 8), ((8,), 8), ((8,), 8), ((1,), 1)]), dense(5, 40))
LAYOUTS = {
    "empty": layout_of(),
    "one": layout_of((1, [((1,), 1)])),
    "hollow": layout_of((3, [((3, 0), 3), ((3,), 3)]), (2, [((0,), 1)]), dense(4, 9)),
    "normed": NORMED,
    "mlp": layout_of(dense(30, 40), dense(10, 30)),
}


def values_of(rng, size):
    """Return float32[size] with any bits: NaN payloads, -0, infinities, subnormals."""
    values = rng.integers(0, 2**32, size, np.uint32).view(np.float32)
    values[rng.random(size) < 0.2] = -0.0
    return values


def support_of(rng, layout, level, density):
    units = len(layout.starts(level)) - 1
    return Support(layout, level, (rng.random(units) < density).astype(np.uint8))


def rows_of(rng, layout, density):
    return Support.of_rows(layout, [rng.random(layer.rows) < density for layer in layout.layers])


def check(values, support, **options):
    """Assert that a message decodes to its values on the support, bit by bit; return it."""
    known = support if options.get("known") else None
    message = codec.encode(values, support, **options)
    sizes = codec.sizes(message)
    assert sizes.total == len(message) == sum(vars(sizes).values()) - sizes.total
    got, back = codec.decode(bytes(message), support.layout, known=known)
    assert back.level == support.level and back.keep.dtype == np.uint8
    np.testing.assert_array_equal(back.keep, support.keep != 0)
    bits = np.where(support.mask() != 0, values.view(np.uint32), 0)
    np.testing.assert_array_equal(got.view(np.uint32), bits)
    assert sizes.values == 4 * np.count_nonzero(support.mask())
    return message


@given(
    name=st.sampled_from(sorted(LAYOUTS)),
    level=st.sampled_from(LEVELS),
    density=st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]) | st.floats(0, 1),
    known=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_support_of_any_level_comes_back(name, level, density, known, seed):
    rng, layout = np.random.default_rng(seed), LAYOUTS[name]
    check(values_of(rng, layout.size), support_of(rng, layout, level, density), known=known)


@given(name=st.sampled_from(sorted(LAYOUTS)), density=st.floats(0, 1), seed=st.integers(0, 99))
def test_supports_of_rows_come_back(name, density, seed):
    rng, layout = np.random.default_rng(seed), LAYOUTS[name]
    if layout.size:
        check(values_of(rng, layout.size), rows_of(rng, layout, density))


def test_a_whole_model_costs_its_values_and_96_bytes(rng):
    message = check(values_of(rng, LENET.size), Support.all(LENET), round=7, sender=3)
    assert len(message) == 4 * 61_706 + 96
    assert wire.read(message)[1][["sender", "round"]].item() == (3, 7)


def test_an_absent_layer_costs_nothing(rng):
    keep = np.array([1, 0, 1, 0, 1], np.uint8)
    message = check(values_of(rng, LENET.size), Support(LENET, "layer", keep))
    assert len(message) == 4 * (61_706 - 16 * 151 - 84 * 121) + 96 + 8  # five bits, padded


def test_nothing_at_all_is_a_header(rng):
    for level in LEVELS:
        assert len(check(values_of(rng, 61_706), support_of(rng, LENET, level, 0))) == 64


def test_rows_send_one_bitmap_for_all_tensors_of_a_layer(rng):
    sizes = codec.sizes(check(values_of(rng, LENET.size), rows_of(rng, LENET, 0.3)))
    assert sizes.support == -(-(6 + 16 + 120 + 84 + 10) // 8)
    sizes = codec.sizes(check(values_of(rng, NORMED.size), rows_of(rng, NORMED, 0.5)))
    assert sizes.support == 2  # 8 + 5 rows; the tensor of one row is whole


def test_tensors_of_a_layer_may_keep_different_rows(rng):
    support = rows_of(rng, LENET, 0.5)
    support.keep[7] ^= 1  # a bias without its row of weights
    assert codec.sizes(check(values_of(rng, LENET.size), support)).support > 30


def kinds_of(message):
    """Return the names of the formats of a message's segments."""
    return [wire.KINDS[kind] for kind in wire.read(message)[2]["kind"]]


@pytest.mark.parametrize(
    ("density", "kind", "cost"),
    [
        (0.01, "varint", 1.28 * 0.01),
        (0.1, "varint", 0.1),
        (0.3, "bitmap", 1 / 8),
        (0.7, "bitmap", 1 / 8),
        (0.99, "runs", 0.0227),
    ],
)
def test_the_format_of_random_supports_is_the_smallest(rng, density, kind, cost):
    layout = layout_of(dense(100, 999))
    message = check(values_of(rng, layout.size), support_of(rng, layout, "coordinate", density))
    assert kinds_of(message) == [kind]
    assert codec.sizes(message).support == pytest.approx(cost * layout.size, rel=0.1)


@given(st.integers(1, 300), st.floats(1, 2**22), st.integers(0, 9))
def test_halves_are_never_smaller_than_varints(count, scale, seed):
    gaps = np.random.default_rng(seed).integers(1, int(scale) + 1, count)
    last = int(gaps.sum())
    varints = kernels.lists.varint_size(np.cumsum(gaps).astype(np.uint32))
    assert varints <= min(4 * count, 2 * count + 4 * (last // 65536 + 1))


def test_layers_of_different_density_are_cut_apart(rng):
    support = support_of(rng, LENET, "coordinate", 0.05)
    starts = LENET.starts("layer")
    support.keep[: starts[2]] = 1  # two dense layers become one segment
    support.keep[starts[3] : starts[4]] = 0
    message = check(values_of(rng, LENET.size), support)
    assert kinds_of(message) == ["dense", "varint", "varint"]
    support.keep[:] = 0
    support.keep[LENET.slice("2.1")] = 1
    assert codec.sizes(check(values_of(rng, LENET.size), support)).support < 8


def test_a_known_support_travels_as_a_hash(rng):
    support = support_of(rng, LENET, "coordinate", 0.5)
    message = check(values_of(rng, LENET.size), support, known=True)
    assert codec.sizes(message).support == 16
    other = Support(LENET, "coordinate", 1 - support.keep)
    for wrong in (None, other, Support.all(LENET)):
        with pytest.raises(MessageError, match="support that is not the one"):
            codec.decode(message, LENET, known=wrong)


@pytest.mark.parametrize(
    ("weights", "size"),
    [
        (None, 0),
        (-5, 0),
        (np.repeat([3, 9, 2**40], 100), 8 + 3 * 8 + 300),
        (np.arange(300), 1200),
        (np.arange(300) << 40, 2400),
        (np.full(300, -1), 8 + 8 + 300),
        (np.arange(600)[::2], 1200),
    ],
)
def test_weights_take_the_least_room_that_holds_them(rng, weights, size):
    keep = rng.permutation(np.repeat(np.array([0, 1], np.uint8), [700, 300]))
    support = Support(layout_of((1, [((1000,), 1)])), "coordinate", keep)
    message = check(values_of(rng, 1000), support, weights=weights)
    np.testing.assert_array_equal(codec.weights(message), weights)
    assert codec.sizes(message).weights == size


def test_a_message_may_lie_anywhere_in_a_larger_buffer(rng):
    support = support_of(rng, LENET, "coordinate", 0.03)
    values = values_of(rng, LENET.size)
    message = bytes(codec.encode(values, support))
    for shift in range(9):
        buffer = memoryview(bytes(shift) + message + b"tail")
        got, back = codec.decode(buffer[shift : shift + len(message)], LENET)
        np.testing.assert_array_equal(back.keep, support.keep)
        assert got[back.keep != 0].tobytes() == values[back.keep != 0].tobytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"values": np.zeros(LENET.size)}, "float64"),
        ({"values": np.zeros(3, np.float32)}, r"float32\[61706\]"),
        ({"support": Support(LENET, "layer", np.ones(4, np.uint8))}, r"uint8\[5\]"),
        ({"support": Support(LENET, "layer", np.ones(5, int))}, "keep is int64"),
        ({"value_type": "float8"}, "float8"),
        ({"value_type": "int4", "scales": np.ones(3, np.float32)}, r"float32\[10\]; got \[3\]"),
        ({"weights": np.ones(2, np.int64)}, r"int64\[1\]"),
        ({"weights": np.ones(1)}, "float64"),
        ({"weights": 2**64}, "64 bits"),
        ({"round": -(2**70)}, "64 bits"),
    ],
)
def test_what_cannot_be_encoded_is_refused(change, reason):
    given_ = {"values": np.zeros(LENET.size, np.float32), "support": Support.all(LENET)}
    with pytest.raises(MessageError, match=reason):
        codec.encode(**given_ | change)


def sealed(message, **fields):
    """Return a copy of a message with header fields changed and the checksum made to fit."""
    data = np.frombuffer(message, np.uint8).copy()
    for name, value in fields.items():
        data[:64].view(wire.HEADER)[name] = value
    wire.seal(data)
    return data


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"magic": b"NOPE"}, "starts with"),
        ({"version": 2}, "version 2"),
        ({"value_type": 6}, "value_type"),
        ({"level": 5}, "level"),
        ({"flags": b"\1\0\0"}, "flags"),
        ({"scales": 1}, "scales for values that have none"),
        ({"segments": 2**32 - 1}, "its table needs"),
        ({"size": 61_707}, "model with 61707"),
        ({"nnz": 61_707}, "of 61706"),
        ({"nnz": 61_705}, "246916 bytes"),
        ({"nnz": 30_853, "value_type": 0}, "bytes, it has"),
        ({"weight_kind": 5}, "weight_kind"),
        ({"weight_kind": 3, "weight": 0}, "bytes of weights"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(fields, reason):
    message = codec.encode(np.zeros(LENET.size, np.float32), Support.all(LENET))
    with pytest.raises(MessageError, match=reason):
        codec.decode(sealed(message, **fields), LENET)


def test_a_hash_of_a_support_stands_alone(rng):
    """It would replace what the segment before it has said about other tensors."""
    keep = np.zeros(LENET.size, np.uint8)
    keep[LENET.tensors[0].block] = rng.random(LENET.tensors[0].size) < 0.5
    keep[LENET.tensors[1].block] = keep[-1] = 1
    known = Support(LENET, "coordinate", keep)
    first, last = int(keep[: LENET.tensors[1].start].sum()), LENET.tensors[1].size + 1
    table = np.zeros(2, wire.ENTRY)
    table["kind"], table["first"], table["stop"] = [wire.IDX32, wire.PACKED], [0, 1], [1, 10]
    table["kept"] = first, last
    streams = [np.arange(first, dtype="<u4").view(np.uint8), supports.digest(known)]
    with pytest.raises(MessageError, match="by coordinate, as packed, that is cut into segments"):
        supports.read(LENET, "coordinate", table, streams, known)


def test_every_flipped_bit_and_every_cut_is_noticed(rng):
    layout = LAYOUTS["mlp"]
    support = support_of(rng, layout, "coordinate", 0.05)
    message = bytes(codec.encode(values_of(rng, layout.size), support))
    for at in range(len(message)):
        damaged = bytearray(message)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(MessageError):
            codec.decode(damaged, layout)
        with pytest.raises(MessageError):
            codec.decode(message[:at], layout)
    with pytest.raises(MessageError, match="its header states"):
        codec.decode(message + b"\0", layout)


@pytest.mark.parametrize("kind", [k for k in range(8) if wire.KINDS[k] not in ("packed", "rows")])
def test_every_format_decodes_to_what_it_encodes(rng, kind):
    flags = (rng.random(200_000) < (1 if kind == wire.DENSE else 0.01)).astype(np.uint8)
    got = np.full_like(flags, 9)
    formats.decode(kind, formats.encode(kind, flags), int(flags.sum()), got)
    np.testing.assert_array_equal(got, flags)


def test_damaged_messages_give_an_error_or_a_message_that_holds_together():
    outcome = fuzz(2000, seed=1)
    assert outcome["refused"] > 1000 and outcome["accepted"] > 10
    assert outcome["refused"] + outcome["accepted"] == 2000
