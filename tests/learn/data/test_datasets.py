"""The data sets themselves, against published facts about them."""

import numpy as np
import pytest
import torch

from fedmpi.errors import ConfigError, DataError
from fedmpi.learn import data
from fedmpi.learn.data import shakespeare


@pytest.fixture(scope="module")
def load(data_root, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return lambda name, **options: data.load(name, data_root, options, cache)


def test_digits_are_those_of_scikit_learn_split_once_and_for_all():
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    got = data.load("digits")
    assert got.x_train.shape == (1437, 1, 8, 8) and got.x_test.shape == (360, 1, 8, 8)
    rows = np.concatenate([got.x_train, got.x_test]).reshape(-1, 64)
    labels = np.concatenate([got.y_train, got.y_test])
    ours, theirs = (np.column_stack([a, b]) for a, b in ((rows, labels), (x.astype(int), y)))
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])
    np.testing.assert_array_equal(x[0], got.x_test[0].ravel())
    parts = np.bincount(got.y_test) / np.bincount(y)
    assert abs(parts - 0.2).max() < 0.006


def test_fashion_mnist_has_the_published_counts_and_moments(load):
    got = load("fashion-mnist")
    assert got.x_train.shape == (60_000, 1, 28, 28) and got.x_test.shape == (10_000, 1, 28, 28)
    assert set(np.bincount(got.y_train)) == {6000} and set(np.bincount(got.y_test)) == {1000}
    assert (round(got.mean[0], 4), round(got.std[0], 4)) == (0.2860, 0.3530)
    assert got.groups_train is None and got.kind == "image"


def test_mnist_by_writer_has_the_published_counts(load):
    got = load("mnist-writers")
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(got.y_train).tolist() == train and np.bincount(got.y_test).tolist() == test
    assert (round(got.mean[0], 4), round(got.std[0], 4)) == (0.1307, 0.3081)
    writers, sizes = np.unique(got.groups_train, return_counts=True)
    assert (len(writers), sizes.min(), np.median(sizes), sizes.max()) == (539, 19, 116, 131)
    others, sizes = np.unique(got.groups_test, return_counts=True)
    assert (len(others), sizes.min(), np.median(sizes), sizes.max()) == (297, 8, 21, 130)
    assert not np.intersect1d(writers, others).size


def test_cifar10_has_the_published_counts_and_moments(load):
    got = load("cifar10")
    assert got.x_train.shape == (50_000, 3, 32, 32) and got.x_test.shape == (10_000, 3, 32, 32)
    assert set(np.bincount(got.y_train)) == {5000} and set(np.bincount(got.y_test)) == {1000}
    last = np.bincount(got.y_train[40_000:]).tolist()
    assert last == [1014, 1014, 952, 1016, 997, 1025, 980, 977, 1003, 1022]
    np.testing.assert_allclose(got.mean, (0.4914, 0.4822, 0.4465), atol=6e-5)
    np.testing.assert_allclose(got.std, (0.2470, 0.2435, 0.2616), atol=6e-5)


def test_moby_roles_have_the_published_counts(data_root):
    said = shakespeare.roles(data_root, "moby")
    sizes = np.array([len(text) for text in said.values()])
    lines = [text.count("\n") for text in said.values()]
    assert len(said) == 1347 and sizes.sum() == 4_338_833
    assert sum(n >= 2 for n in lines) == 1230 and (sizes >= 1000).sum() == 641
    largest = sorted(said, key=lambda role: -len(said[role]))[:3]
    assert largest == [("hamlet", "HAMLET"), ("henryv", "KING HENRY V"), ("othello", "IAGO")]
    assert said["hamlet", "FRANCISCO"].startswith("Nay, answer me: stand, and unfold yourself.\n")


def test_tiny_speakers_have_the_published_counts(data_root):
    said = shakespeare.roles(data_root, "tiny")
    assert len(said) == 309 and sum(len(text) >= 1000 for text in said.values()) == 141
    assert len(set("".join(said.values()))) <= 65
    first = said["", "First Citizen"]
    assert first.startswith("Before we proceed any further, hear me speak.\nYou are all resolved")


@pytest.mark.parametrize("stride", [1, 7, 80])
def test_shakespeare_samples_are_80_characters_and_the_next(load, data_root, stride):
    got = load("shakespeare", source="tiny", stride=stride)
    letters = np.array(list(shakespeare.ALPHABET))
    assert got.classes == 80 and got.x_train.dtype == np.uint8
    texts = list(shakespeare.roles(data_root, "tiny").values())
    for x, y, groups, part in (
        (got.x_train, got.y_train, got.groups_train, lambda t: t[: len(t) * 4 // 5]),
        (got.x_test, got.y_test, got.groups_test, lambda t: t[len(t) * 4 // 5 :]),
    ):
        assert len(x) == sum(len(range(0, len(part(t)) - 80, stride)) for t in texts)
        starts = np.searchsorted(groups, groups)
        for i in range(0, len(x), len(x) // 50):
            place = (i - starts[i]) * stride
            said = part(texts[groups[i]]).replace("$", " ")
            assert "".join(letters[x[i]]) == said[place : place + 80]
            assert letters[y[i]] == said[place + 80]


def test_synthetic_clients_depend_on_the_seed_and_their_number_alone():
    few = data.load("synthetic", options={"clients": 5})
    many = data.load("synthetic", options={"clients": 9})
    other = data.load("synthetic", options={"clients": 5, "seed": 1})
    first = many.groups_train < 5
    np.testing.assert_array_equal(few.x_train, many.x_train[first])
    np.testing.assert_array_equal(few.y_train, many.y_train[first])
    assert not np.array_equal(few.x_train[:4], other.x_train[:4])
    assert few.x_train.dtype == np.float32 and few.x_train.shape[1] == 60


def test_synthetic_follows_its_formula():
    got = data.load("synthetic", options={"clients": 400, "a": 0.0, "b": 0.0})
    sizes = np.bincount(got.groups_train) + np.bincount(got.groups_test)
    assert sizes.min() >= 5 and sizes.max() <= 1000
    assert np.bincount(got.groups_test).min() >= 1
    client = got.x_train[got.groups_train == np.argmax(sizes)]
    np.testing.assert_allclose(client.var(axis=0), np.arange(1, 61) ** -1.2, rtol=0.25)
    skewed = data.load("synthetic", options={"clients": 400, "b": 30.0})
    means = [skewed.x_train[skewed.groups_train == k].mean() for k in range(400)]
    assert 24 < np.std(means) < 36


def test_arrays_are_read_only_and_rebuild_the_set_around_copies():
    got = data.load("digits")
    copies = {name: array.copy() for name, array in got.arrays().items()}
    again = data.Dataset.rebuild(got.facts(), copies)
    assert again.facts() == got.facts() and again.x_test is copies["x_test"]
    for each in (got, again):
        for name, array in each.arrays().items():
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
            np.testing.assert_array_equal(array, getattr(got, name))


def test_mean_and_std_are_those_of_float64(rng):
    x = rng.integers(256, size=(5000, 3, 4, 4)).astype(np.uint8)
    got = data.Dataset.of("x", "image", (x, np.zeros(5000, int)), (x[:1], np.zeros(1, int)), 1)
    np.testing.assert_allclose(got.mean, (x / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(got.std, (x / 255).std(axis=(0, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "x", "y", "message"),
    [
        ("sound", np.zeros((2, 3), np.float32), [0, 1], "must be one of image, features, text"),
        ("features", np.zeros(2), [0, 1], "needs numbers with 2 or 3"),
        ("image", np.zeros((2, 3), np.uint8), [0, 1], "needs uint8 with 4"),
        ("text", np.zeros((2, 3)), [0, 1], "needs whole numbers from 0 with 2"),
        ("text", np.zeros((2, 3), np.uint8), [0, 2], "from 0 to 1"),
        ("text", np.zeros((2, 3), np.uint8), [0, -1], "from 0 to 1"),
        ("text", np.zeros((2, 3), np.uint8), [0.0, 0.5], r"labels are float64\[2\]; give whole"),
        ("text", np.zeros((2, 3), np.uint8), [0.0, 0.5], r"texts, \[N\]; sample 1 has 0.5$"),
        ("text", np.zeros((2, 3), np.uint8), [0.0, np.nan], "sample 1 has nan$"),
        ("text", np.zeros((2, 3), np.uint8), ["a", None], "sample 1 has None$"),
        ("text", np.zeros((2, 3), np.uint8), ["a", "a"], "1 names of labels, but .* 2: 'a'"),
        ("text", np.zeros((2, 3), np.uint8), [[0, 1], [1, 0]], r"labels are int64\[2, 2\]"),
        ("text", np.zeros((2, 3), np.uint8), [[0, 1], [1, 0]], r"y.argmax\(axis=1\) of one-hot"),
        ("text", np.zeros((2, 3), np.uint8), [0, 3], "sample 1 has 3"),
        ("image", np.zeros((2, 8, 8, 3), np.uint8), [0, 1], "looks like .N, height, width"),
        ("features", np.array([[0, 1], [np.nan, 0]], np.float32), [0, 1], "sample 1 holds NaN"),
        ("features", np.array([[np.inf, 1], [3, 0]], np.float32), [0, 1], "sample 0 holds NaN"),
        ("features", np.array([[0, 1], [1e99, 0]]), [0, 1], "sample 1 .* too large for float32"),
        ("image", np.array([[[[0.5]]], [[[np.nan]]]]), [0, 1], "x of sample 1 holds NaN"),
        ("text", [[1, 2], [1]], [0, 1], "x: is no array: its samples have different"),
        ("features", np.array([[1.0, 2], [3, "4"]], object), [0, 1], "1 has '4' in column 1"),
        ("features", np.array([[None, 2], [3, 4]], object), [0, 1], "0 has None in column 0"),
        ("text", np.zeros((2, 3), np.uint8), [0], "2 samples, 1 labels; give a label for each"),
        ("text", np.zeros((0, 3), np.uint8), [], "0 samples, 0 labels; .* at least one sample"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(kind, x, y, message):
    with pytest.raises(DataError, match=message):
        data.Dataset.of("mine", kind, (x, np.array(y)), (x, np.array(y)), 2)


@pytest.mark.parametrize("y", [[0, 1], [[0], [1]], [False, True], [0.0, 1.0], [[0.0], [1.0]]])
def test_labels_in_the_forms_that_people_have(y):
    x = np.zeros((2, 3), np.float32)
    got = data.Dataset.of("mine", "features", (x, y), (x, y), 2)
    assert got.y_train.tolist() == [0, 1] and got.y_train.dtype == np.int64


def test_tensors_are_data_and_the_callers_arrays_stay_writable():
    x, y = torch.arange(6, dtype=torch.float32).view(2, 3), np.array([1, 0])
    got = data.Dataset.of("mine", "features", (x, y), (x, torch.tensor([1, 0])), 2)
    np.testing.assert_array_equal(got.x_train, [[0, 1, 2], [3, 4, 5]])
    y[0], x[0, 0] = 0, 7
    with pytest.raises(ValueError, match="read-only"):
        got.x_train[0] = 0


def test_a_channel_that_never_changes_has_a_spread_to_divide_by():
    x = np.stack([np.full((4, 5, 5), 200), np.arange(100).reshape(4, 5, 5)], 1).astype(np.uint8)
    y = np.zeros(4, int)
    got = data.Dataset.of("mine", "image", (x, y), (x, y), 1)
    assert got.std[0] == 1 and got.mean[0] == pytest.approx(200 / 255)
    assert got.std[1] == pytest.approx(np.arange(100).std() / 255)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, "did you mean digits"),
        ("synthetic", {"client": 5}, "did you mean clients"),
        ("synthetic", {"a": -1}, "a = -1.*at least 0"),
        ("synthetic", {"a": float("nan")}, "must be a finite number"),
        ("synthetic", {"clients": True}, "must be a whole number"),
        ("shakespeare", {"source": "moti"}, "must be 'moby' or 'tiny'"),
        ("digits", {"alpha": 1}, "alpha: unknown key; known keys: none"),
    ],
)
def test_wrong_names_and_options_are_refused(name, options, message):
    with pytest.raises(ConfigError, match=message):
        data.load(name, options=options)


def test_import_needs_nothing_heavy(run_python):
    code = ("import sys, fedmpi.learn.data, fedmpi.learn.partitions\n"
            "heavy = {'torch', 'numba', 'matplotlib', 'scipy', 'sklearn', 'pooch'}\n"
            "bad = heavy & set(sys.modules)\n"
            "sys.exit(str(bad) if bad else 0)")
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
