"""Data sets of the field, from small files made here in their true formats."""

import hashlib
import io
import json
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from fedmpi.errors import DataError
from fedmpi.learn import data
from fedmpi.learn.data import cifar100, femnist, fetch, files, folders

RNG = np.random.default_rng(4)


def images(number, channels=3, side=32):
    return RNG.integers(0, 256, (number, channels, side, side)).astype(np.uint8)


def text(value):
    """A short string as Python 2 pickles it, with its memo."""
    return b"U" + bytes([len(value)]) + value.encode() + b"q\x01"


def batch_of_cifar100(x, fine, coarse):
    """A file as Krizhevsky's Python 2 wrote it: a dict with lists of labels, and an array."""
    def numbers(values):
        return b"]q\x02(" + b"".join(b"K" + bytes([value]) for value in values) + b"e"

    pixels = x.tobytes()
    array = (b"cnumpy.core.multiarray\n_reconstruct\nq\x03(cnumpy\nndarray\nq\x04K\x00\x85U\x01b"
             b"\x87R(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R\x89"
             b"T" + struct.pack("<I", len(pixels)) + pixels + b"tb")  # fmt: skip
    return (b"\x80\x02}q\x00(" + text("fine_labels") + numbers(fine) + text("data") + array
            + text("coarse_labels") + numbers(coarse) + b"u.")  # fmt: skip


def placed(root, monkeypatch, name, known, contents):
    """Write files below `root`, and let their MD5s be the published ones."""
    sums = {}
    for path, content in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        sums[path] = f"md5:{hashlib.md5(content).hexdigest()}"
    monkeypatch.setattr(files, known, sums)
    monkeypatch.setitem(files.FILES, name, sums)


def test_cifar100_is_read_without_running_its_pickles(tmp_path, monkeypatch):
    x, fine, coarse = images(5), [0, 99, 7, 0, 55], [0, 19, 3, 0, 4]
    content = batch_of_cifar100(x, fine, coarse)
    contents = dict.fromkeys(files.CIFAR100, content)
    placed(tmp_path, monkeypatch, "cifar100", "CIFAR100", contents)
    found = data.load("cifar100", tmp_path)
    np.testing.assert_array_equal(found.x_train, x)
    assert found.y_test.tolist() == fine and found.classes == 100
    assert data.load("cifar100", tmp_path, {"labels": "coarse"}).y_train.tolist() == coarse
    assert len(fetch.verify("cifar100", tmp_path)) == 2
    path = tmp_path / next(iter(contents))
    path.write_bytes(content[:-900] + b"x" * 900)
    with pytest.raises(DataError, match="truncated or altered: md5:"):
        data.load("cifar100", tmp_path)
    with pytest.raises(DataError, match="cifar-100-python/train: its list of instructions"):
        cifar100.read(path)
    path.write_bytes(b"\x80\x02}q\x00(" + text("fine_labels") + b"]q\x02(K\x01eu.")
    with pytest.raises(DataError, match="1 fine labels and 11 bytes of pixels"):
        cifar100.read(path)


def test_svhn_is_read_from_matlab_files(tmp_path, monkeypatch):
    scipy_io = pytest.importorskip("scipy.io")
    x, y = images(6), np.array([10, 1, 9, 10, 5, 2])

    def matlab(at, **arrays):
        stream = io.BytesIO()
        scipy_io.savemat(stream, arrays or {"X": x[at].transpose(2, 3, 1, 0), "y": y[at, None]},
                         do_compression=True)  # fmt: skip
        return stream.getvalue()

    parts = {"train": slice(0, 3), "test": slice(3, 5), "extra": slice(5, 6)}
    contents = {f"svhn/{part}_32x32.mat": matlab(at) for part, at in parts.items()}
    placed(tmp_path, monkeypatch, "svhn", "SVHN", contents)
    found = data.load("svhn", tmp_path)
    np.testing.assert_array_equal(found.x_train, x[:3])
    assert found.y_train.tolist() == [0, 1, 9] and found.y_test.tolist() == [0, 5]
    assert data.load("svhn", tmp_path, {"extra": True}).y_train.tolist() == [0, 1, 9, 2]
    (tmp_path / "svhn/extra_32x32.mat").unlink()
    assert len(fetch.verify("svhn", tmp_path)) == 2
    contents["svhn/test_32x32.mat"] = matlab(0, X=np.zeros((2, 2)), y=np.zeros(2))
    placed(tmp_path, monkeypatch, "svhn", "SVHN", contents)
    with pytest.raises(DataError, match=r"test_32x32.mat: X is float64\[2, 2\]"):
        data.load("svhn", tmp_path)


def test_femnist_is_read_as_leaf_and_as_tff_publish_it(tmp_path):
    pixels = np.round(RNG.random((5, 784)), 4).astype(np.float32)
    y, users = [3, 61, 0, 10, 35], {"f0001_41": [0, 1], "f0002_33": [2, 3, 4]}
    for part in ("train", "test"):
        leaf, tff = tmp_path / "femnist/leaf" / part, tmp_path / "femnist/tff"
        leaf.mkdir(parents=True), tff.mkdir(exist_ok=True)
        for name, at in users.items():
            held = {"x": pixels[at].tolist(), "y": [y[i] for i in at]}
            content = {"users": [name], "num_samples": [len(at)], "user_data": {name: held}}
            (leaf / f"all_data_{name}.json").write_text(json.dumps(content))
        with h5py.File(tff / f"fed_emnist_{part}.h5", "w") as file:
            for name, at in users.items():
                group = file.create_group(f"examples/{name}")
                group["pixels"] = pixels[at].reshape(-1, 28, 28)
                group["label"] = np.array([y[i] for i in at], np.int32)
    found = [data.load("femnist", tmp_path, {"source": source}) for source in ("leaf", "tff")]
    for one in found:
        np.testing.assert_array_equal(one.x_train[:, 0].reshape(5, -1), np.rint(pixels * 255))
        assert one.y_test.tolist() == y and one.groups_train.tolist() == [0, 0, 1, 1, 1]
    with pytest.raises(DataError, match="5 samples for train, not the published 671,585"):
        fetch.verify("femnist", tmp_path)
    (tmp_path / "femnist/tff/fed_emnist_test.h5").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"fed_emnist_test\.h5: is not as TFF publishes it"):
        femnist.read(tmp_path, "tff")
    (tmp_path / "femnist/leaf/test/all_data_f0001_41.json").write_text('{"user_data": {"a": {}}}')
    with pytest.raises(DataError, match=r"all_data_f0001_41\.json: is not as LEAF writes it"):
        data.load("femnist", tmp_path)
    with pytest.raises(DataError, match="neither femnist/leaf nor femnist/tff"):
        fetch.verify("femnist", tmp_path / "elsewhere")


@pytest.mark.parametrize(("users", "fault"), [
    ({}, "holds no writers"),
    ([1], "is not as LEAF writes it"),
    # As many images as labels in all, but not those of each writer.
    ({"a": (3, [1, 2]), "b": (2, [1, 2, 3])}, r"writer 'a' has 3 images, and labels int64\[2\]"),
    ({"a": (1, [2**70])}, r"writer 'a' has 1 images, and labels object\[1\]"),
    ({"a": (1, [1.7])}, r"writer 'a' has 1 images, and labels float64\[1\]"),
])  # fmt: skip
def test_femnist_of_leaf_has_one_whole_number_for_each_image(tmp_path, users, fault):
    if isinstance(users, dict):
        users = {name: {"x": [[0.5] * 784] * n, "y": y} for name, (n, y) in users.items()}
    (tmp_path / "femnist/leaf/train").mkdir(parents=True)
    (tmp_path / "femnist/leaf/train/all.json").write_text(json.dumps({"user_data": users}))
    with pytest.raises(DataError, match=fault):
        femnist.read(tmp_path, "leaf")


def png(array):
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    image.fromarray(array.transpose(1, 2, 0)).save(stream, "png")
    return stream.getvalue()


def test_folders_of_images_are_any_and_cinic10(tmp_path, monkeypatch):
    x = images(12)
    for n, (part, label) in enumerate(
        (part, label) for part in ("train", "valid", "test") for label in ("bird", "cat")
    ):
        for i in range(2):
            path = tmp_path / "cinic-10" / part / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(x[2 * n + i]))
    found = data.load("cinic10", tmp_path, {"valid": True})
    np.testing.assert_array_equal(found.x_train, x[:8])
    assert found.y_train.tolist() == [0, 0, 1, 1] * 2 and found.y_test.tolist() == [0, 0, 1, 1]
    mine = data.load("image-folder", tmp_path, {"folder": "cinic-10", "test": "valid"})
    np.testing.assert_array_equal(mine.x_test, x[4:8])
    grey = {"folder": "cinic-10", "grey": True}
    assert data.load("image-folder", tmp_path, grey).x_train.shape == (4, 1, 32, 32)
    with pytest.raises(DataError, match="not the published 9,000 of each of ten"):
        fetch.verify("cinic10", tmp_path)
    path.write_bytes(png(images(1, side=8)[0]))
    with pytest.raises(DataError, match=r"1\.png: has 8x8 pixels, .*0\.png has 32x32"):
        data.load("cinic10", tmp_path)
    missing = tmp_path / "cinic-10/valid/bird"
    missing.rename(tmp_path / "bird")
    with pytest.raises(DataError, match=r"valid: has the classes cat, and train has bird, cat"):
        data.load("cinic10", tmp_path, {"valid": True})
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1\.png: is not a readable image"):
        folders.read(tmp_path / "cinic-10/test")


def folder_of(path):
    """Write two images of each of two classes, for training and for testing."""
    for n, (part, label) in enumerate((p, c) for p in ("train", "test") for c in ("cat", "Ünï")):
        (path / part / label).mkdir(parents=True)
        for i in range(2):
            (path / part / label / f"{i}.png").write_bytes(png(images(8)[2 * n + i]))
    return path


def test_hidden_folders_and_files_are_neither_classes_nor_images(tmp_path):
    folder_of(tmp_path / "mine")
    plain = data.load("image-folder", tmp_path, {"folder": "mine"})
    for hidden in (".ipynb_checkpoints", "__MACOSX"):
        (tmp_path / "mine/train" / hidden).mkdir()
    (tmp_path / "mine/train/cat/._0.png").write_bytes(b"of a Mac")
    found = data.load("image-folder", tmp_path, {"folder": "mine"})
    assert found.classes == plain.classes == 2
    np.testing.assert_array_equal(found.x_train, plain.x_train)
    np.testing.assert_array_equal(found.y_train, plain.y_train)


def test_a_folder_that_is_not_there_is_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"^no folder {tmp_path}/data/mine/train; put"):
        data.load("image-folder", Path("data"), {"folder": "mine"})


def test_a_class_without_images_for_training_is_refused(tmp_path):
    folder_of(tmp_path / "mine")
    below = tmp_path / "mine/train/cat/below"
    below.mkdir()
    for path in (tmp_path / "mine/train/cat").glob("*.png"):
        path.rename(below / path.name)
    with pytest.raises(DataError, match=r"train/cat: no images.*not into folders below"):
        data.load("image-folder", tmp_path, {"folder": "mine"})


def test_images_of_more_than_8_bits_are_refused(tmp_path):
    from PIL import Image

    path = folder_of(tmp_path / "mine") / "train/cat/1.png"
    Image.fromarray(np.full((32, 32), 300, np.uint16)).save(path)
    for grey in (True, False):  # 300 and 40,000 were both taken as 255
        with pytest.raises(DataError, match=r"cat/1\.png: its pixels have more than 8 bits"):
            data.load("image-folder", tmp_path, {"folder": "mine", "grey": grey})


def write_hugging_face(folder, cells, labels):
    """Write one split as `save_to_disk` does, two rows in a batch."""
    import pyarrow

    folder.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({"image": cells, "label": labels})
    path = str(folder / "data-00000-of-00001.arrow")
    with (
        pyarrow.OSFile(path, "wb") as sink,
        pyarrow.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=2)
    names = {"names": ["a", "b", "c"], "_type": "ClassLabel"}
    features = {"image": {"_type": "Image"}, "label": names}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state))


def test_a_folder_of_hugging_face_is_read_without_its_library(tmp_path):
    pytest.importorskip("pyarrow")
    x, y = images(4, side=9), [1, 0, 2, 2]

    def write(part, at, cells, y=y):
        write_hugging_face(tmp_path / "mine" / part, cells, y[at])

    for part, at in (("train", slice(0, 3)), ("test", slice(3, 4))):
        write(part, at, [{"bytes": png(image), "path": None} for image in x[at]])
    found = data.load("hugging-face", tmp_path, {"folder": "mine"})
    np.testing.assert_array_equal(found.x_train, x[:3])
    assert found.y_train.tolist() == y[:3] and found.y_test.tolist() == [2] and found.classes == 3
    with pytest.raises(DataError, match="no column 'img', only image, label"):
        data.load("hugging-face", tmp_path, {"folder": "mine", "image": "img"})
    with pytest.raises(DataError, match=r"no column 'fine', only image, label; .*\[data\] label"):
        data.load("hugging-face", tmp_path, {"folder": "mine", "label": "fine"})
    with pytest.raises(DataError, match=r"validation/state\.json: No such file or directory; is"):
        data.load("hugging-face", tmp_path, {"folder": "mine", "test": "validation"})
    for wrong in (["a"], [0.5], [None]):
        write("test", slice(0, 1), [{"bytes": png(x[3]), "path": None}], wrong)
        with pytest.raises(DataError, match=r"column 'label' is of type .*must be whole numbers"):
            data.load("hugging-face", tmp_path, {"folder": "mine"})
    write("test", slice(3, 4), [{"bytes": None, "path": "1.png"}])
    with pytest.raises(DataError, match="the image of row 0 is not in the file"):
        data.load("hugging-face", tmp_path, {"folder": "mine"})
    (tmp_path / "mine/test/state.json").write_text("[" * 200_000)
    with pytest.raises(DataError, match=r"state\.json: maximum recursion depth .*; is it a folder"):
        data.load("hugging-face", tmp_path, {"folder": "mine"})
