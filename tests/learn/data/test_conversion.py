"""Data as people have it: images of floats, names, labels from 1, sequences, no test set."""

import gzip
import re
from dataclasses import replace

import numpy as np
import pytest

from fedmpi.comm.base import Serial
from fedmpi.errors import DataError
from fedmpi.experiment import assemble, resolve
from fedmpi.experiment.stop import NoSignals
from fedmpi.learn.data import Dataset, checksums, files, images
from fedmpi.round.loop import Simulation

ONE, TWO = np.array([0, 1, 1]), np.array([1])


def test_images_of_floats_are_the_bytes_that_they_were():
    bytes_ = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5) * 4
    for dtype in (np.float32, np.float64):
        floats = bytes_.astype(dtype) / 255
        data = Dataset.of("a", "image", (floats, ONE), (floats[:1, None], TWO), 2)
        assert np.array_equal(data.x_train, bytes_[:, None]) and data.x_train.dtype == np.uint8
        assert np.array_equal(data.x_test, bytes_[:1, None])
    with pytest.raises(DataError, match=r"dimensions, from -1 to 0.85.*; .* floats from 0 to 1 "):
        Dataset.of("a", "image", (floats * 2 - 1, ONE), (floats[:1], TWO), 2)


def test_labels_are_names_or_begin_at_one():
    x = np.zeros((3, 2), np.float32)
    data = Dataset.of("a", "features", (x, ["dog", "cat", "dog"]), (x[:1], ["ant"]), 3)
    assert data.y_train.tolist() == [2, 1, 2] and data.y_test.tolist() == [0]
    data = Dataset.of("a", "features", (x, [1, 3, 2]), (x[:1], [2]), 3)
    assert data.y_train.tolist() == [0, 2, 1] and data.y_test.tolist() == [1]
    data = Dataset.of("a", "features", (x, [1, 2, 1]), (x[:1], [2]), 3)  # class 0 is not there
    assert data.y_train.tolist() == [1, 2, 1]
    with pytest.raises(DataError, match="4 names of labels, but classes is 3"):
        Dataset.of("a", "features", (x, ["a", "b", "c"]), (x[:1], ["d"]), 3)
    with pytest.raises(DataError, match="sample 0 has 4"):
        Dataset.of("a", "features", (x, [4, 1, 2]), (x[:1], [2]), 3)


def test_clients_have_names():
    x = np.zeros((3, 2), np.float32)
    groups = (["ben", "ada", "ben"], ["eve", "ben"])
    data = Dataset.of("a", "features", (x, ONE), (x[:2], ONE[:2]), 2, groups)
    assert data.groups_train.tolist() == [1, 0, 1] and data.groups_test.tolist() == [2, 1]


def test_texts_of_pandas_are_names():
    x, texts = np.zeros((3, 2), np.float32), np.array(["ben", "ada", "ben"], object)
    data = Dataset.of("a", "features", (x, texts), None, 2, (texts, None))
    assert data.y_train.tolist() == data.groups_train.tolist() == [1, 0, 1]


@pytest.mark.parametrize("target", ["numbers", "labels", "tokens"])
def test_a_test_set_without_samples_may_have_targets_of_any_kind(target):
    y = np.ones((3, 2), np.int64)
    x = np.zeros((3, 2), np.float32)
    data = Dataset.of("a", "features", (x, y), (x[:0], y[:0]), 2, target=target)
    assert data.x_test.shape == data.targets_test.shape == (0, 2)


@pytest.mark.parametrize(("train", "test", "fault"), [
    ([0.2, 0.7, 1.0], None, r"train: groups are float64\[3\]; give whole numbers"),
    ([0.0, np.nan, 1.0], None, r"train: groups are float64\[3\]"),
    (np.array([1, 2, 2**63], np.uint64), None, r"train: groups are uint64\[3\]"),
    ([[0, 1], [1, 1], [0, 0]], None, r"train: groups are int64\[3, 2\]"),
    ([0, 1, 2], ["a"], "groups of training are int64, of testing <U1; give both as texts"),
    (["a", "b", "c"], [1], "groups of training are <U1, of testing int64"),
])  # fmt: skip
def test_groups_that_are_neither_numbers_nor_names_are_refused(train, test, fault):
    x = np.zeros((3, 2), np.float32)
    with pytest.raises(DataError, match=fault):
        Dataset.of("a", "features", (x, ONE), (x[:1], TWO), 2, (train, test))


@pytest.mark.parametrize("classes", [0, "2", 2.5, None, np.nan])
def test_the_number_of_classes_is_a_whole_number(classes):
    with pytest.raises(DataError, match=r"a: classes: is .*; give a whole number from 1"):
        Dataset.of("a", "features", (np.zeros((3, 2), np.float32), ONE), None, classes)


def test_an_infinite_label_is_named():
    with pytest.raises(DataError, match=r"labels are float64\[3\]; give whole numbers"):
        Dataset.of("a", "features", (np.zeros((3, 2)), [0, 1, np.inf]), None, 2)


@pytest.mark.parametrize(("kind", "here", "there"), [
    ("features", (20,), (3,)), ("image", (1, 12, 12), (1, 8, 8)), ("image", (3, 8, 8), (1, 8, 8)),
])  # fmt: skip
def test_test_samples_of_another_shape_are_refused(kind, here, there):
    """Kernels lay out their memory by the shape of a training sample, and would leave it."""
    x, z = np.zeros((3, *here), np.uint8), np.zeros((1, *there), np.uint8)
    fault = re.escape(f"training is {list(here)}, one for testing is {list(there)}; give both")
    with pytest.raises(DataError, match=fault):
        Dataset.of("a", kind, (x, ONE), (z, TWO), 2)
    fits = Dataset.of("a", kind, (x, ONE), None, 2)
    with pytest.raises(DataError, match=fault):
        replace(fits, x_test=z)


def test_samples_without_values_are_refused():
    with pytest.raises(DataError, match=r"x is \[3, 0, 4, 4\], so its samples hold no values"):
        Dataset.of("a", "image", (np.zeros((3, 0, 4, 4), np.uint8), ONE), None, 2)


def test_files_lie_unpacked_and_where_torchvision_puts_them(tmp_path, monkeypatch):
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    rng, unpacked = np.random.default_rng(1), {}
    for part, size in (("train", 4), ("t10k", 2)):
        heads = {"images-idx3": bytes([0, 0, 8, 3, 0, 0, 0, size, 0, 0, 0, 28, 0, 0, 0, 28]),
                 "labels-idx1": bytes([0, 0, 8, 1, 0, 0, 0, size])}
        for name, head in heads.items():
            shape = (size, 28, 28) if name[0] == "i" else (size,)
            content = head + rng.integers(0, 10, shape, np.uint8).tobytes()
            path = raw / f"{part}-{name}-ubyte"
            path.write_bytes(content)
            unpacked[f"mnist/{path.name}.gz"] = checksums.sha256(path)
    monkeypatch.setattr(files, "UNPACKED", unpacked)
    monkeypatch.setattr(images, "_SIZES", {"train": 4, "t10k": 2})
    data = images.mnist(tmp_path, {})
    assert data.x_train.shape == (4, 1, 28, 28) and data.y_test.shape == (2,)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"other")
    with pytest.raises(DataError, match="truncated or altered"):
        images.mnist(tmp_path, {})


def test_the_sums_of_unpacked_files_are_those_of_their_content(data_root):
    path = "mnist/t10k-labels-idx1-ubyte.gz"
    assert checksums.hashlib.sha256(gzip.decompress((data_root / path).read_bytes())).hexdigest() \
        == files.UNPACKED[path]


def test_a_gzip_file_that_was_packed_again_is_right_if_its_content_is(data_root, tmp_path):
    path = "mnist/t10k-labels-idx1-ubyte.gz"
    content, known = gzip.decompress((data_root / path).read_bytes()), {path: files.MNIST[path]}
    (tmp_path / "mnist").mkdir()
    (tmp_path / path).write_bytes(gzip.compress(content, 1, mtime=5))
    assert checksums.verify("mnist", tmp_path, known) == {path: tmp_path / path}
    packed = (tmp_path / path).read_bytes()
    for other in (gzip.compress(content[:-1] + b"x"), packed[:-9], b"none", packed[:99] + packed):
        (tmp_path / path).write_bytes(other)
        with pytest.raises(DataError, match="truncated or altered"):
            checksums.verify("mnist", tmp_path, known)


RUN = """
[run]
rounds = 2
seed = 1
[data]
name = "own_sequences:load"
[model]
name = "own_sequences:net"
[clients]
number = 3
batch_size = "all"
local_epochs = 2
"""
OWN = """
import numpy as np
import torch
import fedmpi

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.GRU(4, 5, batch_first=True), torch.nn.Linear(5, 2)
    def forward(self, x):
        return self.head(self.body(x)[0][:, -1])

@fedmpi.model
def net(shape, classes):
    assert tuple(shape) == (6, 4)
    return Net()

@fedmpi.dataset
def load(root):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 31)
    return fedmpi.Dataset.of("sequences", "features", (rng.normal(size=(31, 6, 4)), y), None, 2)
"""


def test_sequences_without_a_test_set_are_trained_in_one_batch(tmp_path, monkeypatch):
    (tmp_path / "own_sequences.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    made = assemble.assemble(resolve.resolve(RUN, "a.toml", []), Serial(), None)
    assert made.engine.data.local.batch_size == made.sizes.max() == 11
    simulation = Simulation(made, Serial(), NoSignals())
    for number in range(2):
        finished = simulation.round()
        assert finished.columns["round"] == number and np.isnan(finished.columns["test_accuracy"])
        assert finished.clients["steps"].tolist() == [2, 2, 2]  # two epochs of one batch


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"train": np.zeros((4, 2))}, r"train is of type ndarray of shape \[4, 2\]; give the pair "
         r"\(x, y\)"),
        ({"test": ([[0.0, 1.0]],)}, r"test is of type tuple; give the pair \(x, y\), or None"),
        ({"groups": np.zeros(4)}, r"groups is of type ndarray of shape \[4\]; give the pair"),
        ({"groups": None}, r"groups is of type NoneType; give the pair \(those of train"),
    ],
)  # fmt: skip
def test_what_must_be_a_pair_is_named(given, said):
    whole = {"train": (np.zeros((4, 2)), [0, 1, 0, 1]), "test": None}
    with pytest.raises(DataError, match=said):
        Dataset.of("mine", "features", **(whole | given), classes=2)
