"""Damaged and hostile files of the known data sets."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from fedmpi.errors import DataError
from fedmpi.learn import data
from fedmpi.learn.data import cifar, own_files


@pytest.fixture
def fashion(data_root, tmp_path):
    """A root of our own with Fashion-MNIST, which may be damaged."""
    (tmp_path / "fashion-mnist").mkdir()
    for path in (data_root / "fashion-mnist").glob("*.gz"):
        shutil.copyfile(path, tmp_path / "fashion-mnist" / path.name)
    return tmp_path


def test_an_altered_byte_is_refused_by_name(fashion):
    path = fashion / "fashion-mnist/train-images-idx3-ubyte.gz"
    with open(path, "r+b") as stream:
        stream.seek(1_000_000)
        byte = stream.read(1)[0]
        stream.seek(1_000_000)
        stream.write(bytes([byte ^ 1]))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is truncated or altered"):
        data.load("fashion-mnist", fashion)


def test_a_truncated_file_is_refused_by_name_even_after_it_was_right(fashion, tmp_path):
    data.load("fashion-mnist", fashion, cache=tmp_path / "cache")
    path = fashion / "fashion-mnist/t10k-labels-idx1-ubyte.gz"
    os.truncate(path, 5000)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.gz is truncated or altered"):
        data.load("fashion-mnist", fashion, cache=tmp_path / "cache")


class Bomb:
    """A pickle that makes a file when it is run."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.fixture
def bomb(tmp_path):
    return pickle.dumps({"data": Bomb(tmp_path / "ran")}, protocol=2)


def test_a_malicious_pickle_in_place_of_a_cifar_batch_never_runs(tmp_path, bomb):
    folder = tmp_path / "cifar-10/cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        (folder / name).write_bytes(bomb)
    with pytest.raises(DataError, match="data_batch_1 is truncated or altered"):
        data.load("cifar10", tmp_path)
    with pytest.raises(DataError, match="not a CIFAR-10 batch"):
        cifar.read_batch(folder / "test_batch")
    assert not (tmp_path / "ran").exists()
    pickle.loads(bomb)
    assert (tmp_path / "ran").exists(), "the bomb of this test does not work"


def batch(labels, marks=True):
    """A small look-alike of a batch file: marks, pixels and labels, no pickle."""
    pairs = b"".join(b"K" + bytes([label]) for label in labels)
    groups = [b"(" + pairs[i : i + 2000] + b"e" for i in range(0, len(pairs), 2000)]
    pixels = bytes.fromhex("5400c0d401") + bytes(10_000 * 3072)
    return pixels + b"labels\x71\x04\x5d\x71\x05" * marks + b"".join(groups)


def test_a_batch_is_read_by_its_marks(tmp_path):
    labels = np.arange(10_000) % 10
    (tmp_path / "b").write_bytes(batch(labels))
    x, y = cifar.read_batch(Path(tmp_path, "b"))
    assert x.shape == (10_000, 3, 32, 32)
    np.testing.assert_array_equal(y, labels)


@pytest.mark.parametrize(
    "content",
    [bytes, lambda: batch([]), lambda: batch([1] * 9000), lambda: batch([1] * 10_000)[:-1],
     lambda: batch([10] * 10_000), lambda: batch([1] * 10_000, marks=False),
     lambda: bytes.fromhex("5400c0d401") + bytes(100)],
)
def test_a_batch_without_its_marks_is_refused(tmp_path, content):
    (tmp_path / "b").write_bytes(content())
    with pytest.raises(DataError, match="not a CIFAR-10 batch"):
        cifar.read_batch(tmp_path / "b")


def test_own_npz_is_read_and_never_unpickled(tmp_path, bomb):
    x, y = np.zeros((4, 2), np.float32), np.arange(4)
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y, groups_train=y)
    got = own_files.from_npz(tmp_path / "mine.npz", "features", 4)
    assert got.name == "mine" and got.groups_train.tolist() == [0, 1, 2, 3]
    np.savez(tmp_path / "bad.npz", x_train=np.array([Bomb(tmp_path / "ran")], object))
    (tmp_path / "worse.npz").write_bytes(bomb)
    np.savez(tmp_path / "less.npz", x_train=x)
    for name, message in (("bad", "cannot be read"), ("worse", "cannot be read"),
                          ("none", "cannot be read"), ("less", "no array y_train")):
        with pytest.raises(DataError, match=f"{name}.npz: .*{message}"):
            own_files.from_npz(tmp_path / f"{name}.npz", "features", 4)
    assert not (tmp_path / "ran").exists()


def test_own_idx_folder_is_read(fashion):
    got = own_files.from_idx(fashion / "fashion-mnist", 10)
    assert got.name == "fashion-mnist" and len(got.x_train) == 60_000
    (fashion / "fashion-mnist/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"no file t10k-labels-idx1-ubyte.gz"):
        own_files.from_idx(fashion / "fashion-mnist", 10)
