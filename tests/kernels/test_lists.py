"""Sorted lists as bytes: equal to their naive twins, back again, and refused if damaged."""

import numpy as np
import pytest

from fedmpi import kernels
from tests import naive
from tests.naive import lists  # noqa: F401  (fills tests.naive)


def positions_of(rng, size, scale):
    """Return uint32[size], ascending, with gaps up to about `scale`."""
    gaps = np.exp(rng.random(size) * np.log(scale)).astype(np.int64)
    return np.cumsum(gaps).astype(np.uint32)


@pytest.mark.parametrize("scale", [1.01, 3, 100, 1000, 30_000, 3_000_000])
@pytest.mark.parametrize("size", [0, 1, 31, 33, 63, 64, 65, 95, 300])
def test_lists_equal_their_naive_twins_and_come_back(rng, size, scale):
    indices = positions_of(rng, size, scale)
    stop = int(indices[-1]) + 1 if size else 5
    coded = kernels.lists.varint_size(indices)
    assert coded == naive.lists.varint_size(indices)
    for name, shape, dtype, arguments in [
        ("varint", coded, np.uint8, ()),
        ("idx16", 2 * -(-stop // 65536) + size, np.uint16, (stop,)),
    ]:
        got, want = np.full(shape, 99, dtype), np.empty(shape, dtype)
        getattr(kernels.lists, f"encode_{name}")(indices, *arguments, got)
        getattr(naive.lists, f"encode_{name}")(indices, *arguments, want)
        np.testing.assert_array_equal(got, want, name)
        back = np.zeros(size, np.uint32)
        getattr(kernels.lists, f"decode_{name}")(got, stop, back)
        np.testing.assert_array_equal(back, indices, name)
        getattr(naive.lists, f"decode_{name}")(want, stop, back)
        np.testing.assert_array_equal(back, indices, name)
        if size:
            with pytest.raises(ValueError, match="after the end"):
                getattr(kernels.lists, f"decode_{name}")(got, stop - 1 - stop % 65536 % 2, back)
    stream = np.array(naive.lists.varints(indices), np.uint8)
    assert kernels.lists.varint_count(stream) == naive.lists.varint_count(stream) == size


@pytest.mark.parametrize("gap", [128, 129, 8192, 8193, 16_384, 16_385])
def test_gaps_on_both_sides_of_each_limit_of_the_code_come_back(gap):
    indices = np.resize([gap, gap, gap, gap, 1, gap, 2], 700).cumsum().astype(np.uint32)
    got, back = np.zeros(kernels.lists.varint_size(indices), np.uint8), np.zeros(700, np.uint32)
    kernels.lists.encode_varint(indices, got)
    assert got.tolist() == naive.lists.varints(indices)
    kernels.lists.decode_varint(got, 2**32, back)
    np.testing.assert_array_equal(back, indices)


def test_positions_up_to_the_last_of_32_bits_survive():
    indices = np.array([0, 5, 2**31, 2**32 - 2, 2**32 - 1], np.uint32)
    stream = np.empty(kernels.lists.varint_size(indices), np.uint8)
    kernels.lists.encode_varint(indices, stream)
    back = np.zeros_like(indices)
    kernels.lists.decode_varint(stream, 2**32, back)
    np.testing.assert_array_equal(back, indices)


@pytest.mark.parametrize("stop", [65_535, 65_536, 65_537, 131_072])
@pytest.mark.parametrize("count", [1, 2, 66_000])
def test_halves_of_full_blocks_and_of_the_last_position_come_back(stop, count):
    indices = np.arange(max(stop - count, 0), stop, dtype=np.uint32)
    got, want = np.full((2, 2 * -(-stop // 65536) + indices.size), 99, np.uint16)
    kernels.lists.encode_idx16(indices, stop, got)
    naive.lists.encode_idx16(indices, stop, want)
    np.testing.assert_array_equal(got, want)
    back = np.zeros_like(indices)
    kernels.lists.decode_idx16(got, stop, back)
    np.testing.assert_array_equal(back, indices)


@pytest.mark.parametrize("before", [0, 64, 200])
@pytest.mark.parametrize("behind", [0, 100])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ([0x80, 0x00], "longer than it needs"),
        ([0xFF, 0x80, 0x00], "longer than it needs"),
        ([0x80, 0x80, 0x80, 0x80, 0x80, 0x01], "more than 5 bytes"),
        ([0xFF, 0xFF, 0xFF, 0xFF, 0x7F], "after the end"),
        ([0xFF, 0x7F], "after the end"),
    ],
)
def test_damaged_varints_are_refused_at_the_start_and_inside_blocks(before, damage, behind, reason):
    stream = np.array([0] * before + damage + [0] * behind, np.uint8)
    with pytest.raises(ValueError, match=reason):
        kernels.lists.decode_varint(stream, 400, np.zeros(before + 1 + behind, np.uint32))


@pytest.mark.parametrize("before", [0, 62, 64, 200])
@pytest.mark.parametrize(
    ("end", "count", "reason"),
    [([0x80], 1, "within a varint"), ([0], 2, "within a varint"), ([0, 0], 1, "more bytes")],
)
def test_lists_that_end_too_early_or_too_late_are_refused(before, end, count, reason):
    stream = np.array([0] * before + end, np.uint8)
    with pytest.raises(ValueError, match=reason):
        kernels.lists.decode_varint(stream, 400, np.zeros(before + count, np.uint32))


def test_streams_of_any_bytes_are_decoded_as_the_twin_does_or_refused(rng):
    """Most bytes are small, so that whole blocks are decoded at once."""
    taken, bytes_ = 0, [0, 1, 2, 90, 127, 128, 200, 255]
    for size in [*range(150), *range(120, 150)]:
        stream = rng.choice(bytes_, size, p=[0.01, 0.3, 0.3, 0.28, 0.05, 0.03, 0.02, 0.01])
        stream, stop = stream.astype(np.uint8), int(rng.choice([2**12, 2**15, 2**32]))
        count = naive.lists.varint_count(stream) + int(rng.choice([0, 0, 0, 0, 1, -1]))
        got, want = np.full((2, max(count, 0)), 7, np.uint32)
        if naive.lists.is_damaged(stream, stop, got.size):
            with pytest.raises(ValueError, match=r"list|varint|after the end"):
                kernels.lists.decode_varint(stream, stop, got)
            continue
        kernels.lists.decode_varint(stream, stop, got)
        naive.lists.decode_varint(stream, stop, want)
        np.testing.assert_array_equal(got, want)
        taken += 1
    assert 40 < taken < 140


@pytest.mark.parametrize(
    ("stream", "count", "reason"),
    [
        ([2, 0, 0, 0, 5, 5], 2, "do not ascend"),
        ([2, 0, 0, 0, 6, 5], 2, "do not ascend"),
        ([1, 0, 0, 0, 5, 6], 2, "fewer positions"),
        ([3, 0, 0, 0, 5, 6], 2, "more positions"),
        ([0, 1, 0, 0, 5, 6], 2, "more positions"),
        ([2, 0, 0, 0, 5], 2, "another size"),
        ([0, 0, 2, 0, 5, 40000], 2, "after the end"),
    ],
)
def test_damaged_halves_are_refused(stream, count, reason):
    with pytest.raises(ValueError, match=reason):
        kernels.lists.decode_idx16(np.array(stream, np.uint16), 100_000, np.zeros(count, np.uint32))


@pytest.mark.parametrize("indices", [[3, 3], [4, 3], [1, 2, 10]])
def test_a_plain_list_must_ascend_and_end_in_time(indices):
    for check in (kernels.lists.check, naive.lists.check):
        check(np.array([0, 1, 9], np.uint32), 10)
        with pytest.raises(ValueError, match=r"ascend|after the end"):
            check(np.array(indices, np.uint32), 10)
