"""Files are hashed on first use, refused by name when wrong, and not hashed twice."""

import hashlib
import lzma
import os

import pytest

from fedmpi.errors import DataError, MissingDataError
from fedmpi.learn.data import checksums
from fedmpi.learn.data.files import CIFAR10

CONTENT = b"ten thousand digits"
FILES = {"set/one": hashlib.sha256(CONTENT).hexdigest()}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "set").mkdir(parents=True)
    (tmp_path / "root" / "set" / "one").write_bytes(CONTENT)
    return tmp_path / "root"


@pytest.fixture
def hashed(monkeypatch):
    """The list of the files that were hashed."""
    seen, real = [], checksums.sha256
    monkeypatch.setattr(checksums, "sha256", lambda path: seen.append(path) or real(path))
    return seen


def test_a_file_is_hashed_once_and_again_after_a_change(root, tmp_path, hashed):
    cache = tmp_path / "new" / "cache"
    for _ in range(3):
        assert checksums.verify("set", root, FILES, cache) == {"set/one": root / "set/one"}
    assert len(hashed) == 1
    os.utime(root / "set/one", ns=(1, 1))
    checksums.verify("set", root, FILES, cache)
    assert len(hashed) == 2
    (root / "set/one").write_bytes(CONTENT[:-1])
    for _ in range(2):  # a wrong file is not noted as right
        with pytest.raises(DataError, match="truncated or altered"):
            checksums.verify("set", root, FILES, cache)


def test_the_message_has_the_name_and_both_sums(root):
    (root / "set/one").write_bytes(b"x" + CONTENT[1:])
    found = hashlib.sha256(b"x" + CONTENT[1:]).hexdigest()
    with pytest.raises(DataError) as error:
        checksums.verify("set", root, FILES)
    for part in (str(root / "set/one"), found, FILES["set/one"], "fedmpi data fetch set"):
        assert part in str(error.value)


@pytest.mark.parametrize("note", ["", "[]", "{", '{"x": 1}', "[" * 200_000])
def test_a_broken_cache_only_costs_time(root, tmp_path, hashed, note):
    (tmp_path / "verified.json").write_text(note)
    for _ in range(2):
        checksums.verify("set", root, FILES, tmp_path)
    assert len(hashed) == 1


def test_a_cache_that_cannot_be_written_is_no_error(root, tmp_path, hashed):
    (tmp_path / "file").write_text("not a folder")
    for _ in range(2):
        checksums.verify("set", root, FILES, tmp_path / "file")
    assert len(hashed) == 2


def test_nothing_is_written_below_the_data_root(root, tmp_path):
    before = sorted(root.rglob("*"))
    checksums.verify("set", root, FILES, tmp_path / "cache")
    assert sorted(root.rglob("*")) == before


def test_xz_files_of_cifar_10_are_known_by_their_content(root):
    batch = next(iter(CIFAR10))
    packed = root / f"{batch}.xz"
    packed.parent.mkdir(parents=True)
    packed.write_bytes(lzma.compress(CONTENT))
    known = {batch: FILES["set/one"]}
    assert checksums.verify("cifar10", root, known) == {batch: packed}
    packed.write_bytes(packed.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"\.xz: broken xz file"):
        checksums.verify("cifar10", root, known)


def test_xz_files_whose_reader_does_not_unpack_them_are_not_found(root):
    (root / "set/one").unlink()
    (root / "set/one.xz").write_bytes(lzma.compress(CONTENT))
    with pytest.raises(MissingDataError, match="no file set/one in"):
        checksums.verify("set", root, FILES)


def test_a_missing_file_says_which_where_and_how_to_get_it(root):
    (root / "set/one").unlink()
    with pytest.raises(DataError) as error:
        checksums.verify("set", root, FILES)
    for part in ("set/one", str(root), "fedmpi data fetch set", "FEDMPI_DATA"):
        assert part in str(error.value)
    with pytest.raises(DataError, match="no data root; set FEDMPI_DATA"):
        checksums.verify("set", None, FILES)
