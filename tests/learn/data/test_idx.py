"""The IDX reader on good files, broken files and files that lie about their size."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from fedmpi.errors import DataError
from fedmpi.learn.data import idx


def packed(array, code=8, dims=None):
    dims = array.shape if dims is None else dims
    header = struct.pack(f">BBBB{len(dims)}I", 0, 0, code, len(dims), *dims)
    return header + array.astype(idx.TYPES[code]).tobytes()


@pytest.fixture
def write(tmp_path):
    def write(content, zipped=False):
        path = tmp_path / "some-idx"
        path.write_bytes(gzip.compress(content) if zipped else content)
        return path

    return write


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("code", idx.TYPES)
def test_every_type_comes_back_in_native_order(write, code, zipped):
    array = np.arange(24).reshape(2, 3, 4)
    got = idx.read(write(packed(array, code), zipped))
    np.testing.assert_array_equal(got, array)
    assert got.dtype == np.dtype(idx.TYPES[code]).newbyteorder("=") and got.dtype.isnative


def test_shape_and_type_are_held_to_what_was_asked(write):
    path = write(packed(np.zeros((5, 2))))
    assert idx.read(path, (None, 2), "uint8").shape == (5, 2)
    for shape, dtype in [((5, 3), None), ((5,), None), ((5, 2, 1), None), (None, "int32")]:
        with pytest.raises(DataError, match=r"some-idx: holds uint8\[5, 2\], must be"):
            idx.read(path, shape, dtype)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x00\x00\x08", "not an IDX file"),
        (b"\x89PNG\r\n\x1a\n", "begins with 89504e47"),
        (b"\x00\x00\x0a\x01\x00\x00\x00\x00", "not an IDX file"),
        (b"\x00\x00\x08\x00", "not an IDX file"),
        (b"\x00\x00\x08\x03\x00\x00", "ends inside its IDX header"),
        (packed(np.zeros(9))[:-1], "promises 9 bytes of values, found only 8|more than the file"),
        (packed(np.zeros(9)) + b"!", "promises 9 bytes of values, found more"),
    ],
)
def test_what_is_no_whole_idx_file_is_refused_by_name(write, content, message, zipped):
    path = write(content, zipped)
    with pytest.raises(DataError, match=message) as error:
        idx.read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("cut", [5, 30, -1])
def test_a_truncated_gzip_file_is_refused(write, rng, cut):
    path = write(packed(rng.integers(256, size=500)), zipped=True)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="broken gzip file"):
        idx.read(path)


def test_an_altered_byte_in_a_gzip_file_is_refused(write, rng):
    path = write(packed(rng.integers(256, size=500)), zipped=True)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="some-idx"):
        idx.read(path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dims", [(2**32 - 1,) * 4, (60_000, 28, 28), (2**31,)])
def test_absurd_dimensions_are_refused_before_anything_is_allocated(write, dims, zipped):
    path = write(packed(np.zeros(64), dims=dims), zipped)
    tracemalloc.start()
    with pytest.raises(DataError, match="more than the file can hold"):
        idx.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
