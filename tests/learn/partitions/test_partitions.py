"""The rules that every partition keeps, and the properties of each partition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fedmpi
from fedmpi.errors import ConfigError
from fedmpi.learn.data import load
from fedmpi.learn.partitions import PARTITIONS, held_out, split
from fedmpi.rng import rng_for

LABELS = np.repeat(np.arange(10), 60)
GROUPS = np.arange(600) * 7 % 43
USES_ALL = sorted(set(PARTITIONS) - {"natural"})


def draw(name, clients=20, labels=LABELS, groups=GROUPS, seed=1, **options):
    return split(name, labels, groups, clients, options, rng_for(seed, "partition"))


@pytest.mark.parametrize("clients", [1, 2, 7, 43])
@pytest.mark.parametrize("name", PARTITIONS)
def test_no_sample_has_two_clients_and_rows_are_sorted(name, clients):
    got = draw(name, clients, **({"classes_per_client": 10} if name == "pathological" else {}))
    assert got.order.dtype == got.starts.dtype == np.int64
    assert got.clients == clients and got.starts[0] == 0 and got.starts[-1] == len(got.order)
    assert len(np.unique(got.order)) == len(got.order)
    assert got.sizes.sum() == len(got.order) and got.sizes.min() >= 1
    for client in range(clients):
        assert (np.diff(got.of(client)) > 0).all()
    if name in USES_ALL:
        assert len(got.order) == len(LABELS)


@pytest.mark.parametrize("name", PARTITIONS)
def test_the_seed_decides_everything(name):
    once, again, other = draw(name), draw(name), draw(name, seed=2)
    np.testing.assert_array_equal(once.order, again.order)
    np.testing.assert_array_equal(once.starts, again.starts)
    assert not np.array_equal(once.order, other.order)


@pytest.mark.parametrize("name", PARTITIONS)
def test_counts_are_those_of_a_plain_loop(name):
    got = draw(name, 13)
    want = [np.bincount(LABELS[got.of(k)], minlength=10) for k in range(13)]
    np.testing.assert_array_equal(got.counts(LABELS, 10), want)


@pytest.mark.parametrize("name", PARTITIONS)
def test_labels_need_not_be_balanced_nor_complete(name):
    labels = np.repeat([0, 3, 4, 9], [500, 1, 80, 19])
    got = draw(name, 10, labels=labels, groups=np.arange(600) // 50)
    assert len(np.unique(got.order)) == len(got.order)
    assert got.counts(labels, 11).sum() == len(got.order)


def test_iid_sizes_differ_by_one():
    assert set(draw("iid", 7).sizes) == {85, 86}
    assert draw("iid", 600).sizes.tolist() == [1] * 600


@pytest.mark.parametrize("capped", [False, True])
@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any),
    clients=st.integers(1, 30), alpha=st.sampled_from([1e-9, 0.01, 0.5, 100.0, 1e9]),
    least=st.integers(0, 5), seed=st.integers(0, 99),
)
def test_dirichlet_gives_each_its_least_or_says_why_not(
    capped, sizes, clients, alpha, least, seed
):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    ask = {"alpha": alpha, "min_samples": least, "capped": capped}
    if clients * least > len(labels) or clients > len(labels):
        with pytest.raises(ConfigError, match=f"{least}|clients.number"):
            draw("dirichlet", clients, labels, None, seed, **ask)
        return
    got = draw("dirichlet", clients, labels, None, seed, **ask)
    assert got.sizes.min() >= least
    np.testing.assert_array_equal(np.sort(got.order), np.arange(len(labels)))


def test_dirichlet_repair_takes_from_the_richest_alone():
    free = draw("dirichlet", 40, alpha=0.1, min_samples=0)
    held = draw("dirichlet", 40, alpha=0.1, min_samples=10)
    poor, changed = free.sizes < 10, held.sizes != free.sizes
    assert poor.any() and (held.sizes[poor] == 10).all()
    level = held.sizes.max()
    assert (free.sizes[changed & ~poor] >= level).all()
    assert set(held.sizes[changed & ~poor]) <= {level, level - 1}
    for client in np.flatnonzero(~poor):  # a giver gets nothing
        assert np.isin(held.of(client), free.of(client)).all()


def test_dirichlet_goes_from_one_class_to_iid_with_alpha():
    def distance(alpha):
        share = draw("dirichlet", alpha=alpha).counts(LABELS, 10)
        share = share / share.sum(axis=1, keepdims=True)
        return np.abs(share - 0.1).sum(axis=1).mean() / 2

    steps = [distance(alpha) for alpha in (0.01, 0.1, 1.0, 10.0, 1e6)]
    assert steps == sorted(steps, reverse=True) and steps[0] > 0.6 and steps[-1] < 0.02


def test_dirichlet_capped_bounds_the_richest():
    free = draw("dirichlet", 10, alpha=0.1)
    capped = draw("dirichlet", 10, alpha=0.1, capped=True)
    assert capped.sizes.max() < 60 + 60 <= free.sizes.max()


def test_shards_hold_as_many_labels_as_shards():
    got = draw("shards", 20)
    held = (got.counts(LABELS, 10) > 0).sum(axis=1)
    assert set(got.sizes) == {30} and set(held) <= {1, 2} and 2 in held
    assert set(draw("shards", 20, shards_per_client=1).sizes) == {30}
    with pytest.raises(ConfigError, match="301 clients need 602 shards"):
        draw("shards", 301)


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    clients=st.integers(1, 40), each=st.integers(1, 12), seed=st.integers(0, 99),
)
def test_pathological_clients_hold_exactly_that_many_classes(sizes, clients, each, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    if each > len(sizes) or np.minimum(sizes, clients).sum() < clients * each:
        with pytest.raises(ConfigError):
            draw("pathological", clients, labels, None, seed, classes_per_client=each)
        return
    got = draw("pathological", clients, labels, None, seed, classes_per_client=each)
    counts = got.counts(labels, len(sizes))
    assert ((counts > 0).sum(axis=1) == each).all()
    if clients * each >= len(sizes):
        assert len(got.order) == len(labels)
    for column in counts.T:  # a class is dealt evenly to its holders
        held = column[column > 0]
        assert not held.size or np.ptp(held) <= 1


def test_pathological_pairs_of_classes_are_mixed():
    got = draw("pathological", 200, np.repeat(np.arange(10), 600), None)
    pairs = {tuple(np.flatnonzero(row)) for row in got.counts(np.repeat(np.arange(10), 600), 10)}
    assert len(pairs) >= 40  # of 45


def test_quantity_sizes_follow_their_law():
    labels = np.repeat(np.arange(10), 6000)
    power = draw("quantity", 100, labels, None, law="power", exponent=1.0, min_samples=0)
    want = 1 / np.arange(1, 101)
    np.testing.assert_allclose(np.sort(power.sizes)[::-1], 60_000 * want / want.sum(), atol=1)
    flat = draw("quantity", 100, labels, None, alpha=1e6, min_samples=5)
    assert np.ptp(flat.sizes) < 20
    skew = draw("quantity", 100, labels, None, alpha=0.1, min_samples=5)
    assert skew.sizes.min() == 5 and skew.sizes.max() > 3000
    big = skew.counts(labels, 10)[skew.sizes.argmax()] / skew.sizes.max()
    assert abs(big - 0.1).max() < 0.03


def test_natural_clients_are_whole_groups():
    got = draw("natural", 20)
    for client, group in enumerate(got.groups):
        np.testing.assert_array_equal(got.of(client), np.flatnonzero(group == GROUPS))
    assert (np.diff(got.groups) > 0).all()
    assert draw("natural", 43).sizes.sum() == 600
    with pytest.raises(ConfigError, match=r"43 natural clients.*; take fewer clients"):
        draw("natural", 44)
    with pytest.raises(ConfigError, match=r"no natural clients(.|\n)*Dataset\.of as groups"):
        draw("natural", groups=None)


def test_natural_leaves_small_groups_out():
    groups = np.repeat([5, 6, 9], [100, 3, 497])
    assert draw("natural", 2, groups=groups, min_samples=4).groups.tolist() == [5, 9]


def test_natural_writers_are_the_real_ones(data_root):
    data = load("mnist-writers", data_root)
    got = split("natural", data.y_train, data.groups_train, 539, {}, rng_for(1, "partition"))
    assert (got.sizes.min(), np.median(got.sizes), got.sizes.max()) == (19, 116, 131)
    assert len(got.order) == 60_000


def test_mixed_goes_from_iid_to_shards():
    labels = np.repeat(np.arange(10), 600)
    got = draw("mixed", 30, labels, None).counts(labels, 10)
    main = -np.sort(-got, axis=1)
    assert (got.sum(axis=1) == 200).all()
    assert (main[:, :3].sum(axis=1) >= 190).all() and (main[:, 0] >= 80).all()
    assert got.sum() == 6000 and (got > 0).sum(axis=1).min() >= 4
    assert (draw("mixed", 20, mix_rate=1.0).counts(LABELS, 10) > 0).sum(axis=1).max() <= 2
    assert (draw("mixed", 20, mix_rate=0.0).counts(LABELS, 10) > 0).sum(axis=1).min() >= 5


@pytest.mark.parametrize(
    ("name", "clients", "options", "message"),
    [
        ("dirichlt", 5, {}, "did you mean dirichlet"),
        ("iid", 601, {}, "clients.number = 601: must be from 1 to 600"),
        ("iid", 0, {}, "must be from 1 to 600"),
        ("iid", 5, {"alpha": 1.0}, "alpha: unknown key; known keys: none"),
        ("dirichlet", 5, {"alpha": 0}, "alpha = 0.*above 0"),
        ("dirichlet", 5, {"alpah": 1.0}, "did you mean alpha"),
        ("dirichlet", 5, {"min_samples": 121}, "min_samples = 121.*\n.*at most 120 per client"),
        ("quantity", 300, {"min_samples": 3}, "300 clients 3 samples each out of 600"),
        ("pathological", 5, {"classes_per_client": 11}, "the data have 10 classes"),
        ("pathological", 500, {}, "500 clients need 1,000 parts"),
        ("mixed", 5, {"mix_rate": 1.5}, "at most 1"),
        ("mixed", 400, {}, "need 800 shards, but there are 570 samples"),
    ],
)
def test_the_impossible_is_refused_with_numbers(name, clients, options, message):
    with pytest.raises(ConfigError, match=message):
        draw(name, clients, groups=None, **options)


@pytest.mark.parametrize("name", PARTITIONS)
def test_a_hundred_thousand_clients_are_no_trouble(name):
    rng = np.random.default_rng(3)
    labels, groups = rng.integers(62, size=1_000_000), rng.permutation(1_000_000) // 8
    ask = {"min_samples": 5} if name in ("dirichlet", "quantity") else {}
    got = draw(name, 100_000, labels, groups, **ask)
    assert got.sizes.min() >= ask.get("min_samples", 1)
    assert got.counts(labels, 62).sum() == len(got.order)


@pytest.mark.parametrize("name", PARTITIONS)
def test_held_out_samples_are_like_those_of_training(name):
    got = draw(name, 15)
    test, groups = np.repeat(np.arange(10), 200), np.arange(2000) % 50
    held = held_out(got, LABELS, (test, groups), 10, rng_for(1, "held out"))
    assert held.clients == 15 and len(np.unique(held.order)) == len(held.order)
    counts = got.counts(LABELS, 10)
    mine = held.counts(test, 10)
    if name == "natural":
        for client, group in enumerate(got.groups):
            assert (groups[held.of(client)] == group).all() and len(held.of(client)) == 40
    else:
        np.testing.assert_allclose(mine, counts * 200 / counts.sum(axis=0), atol=1)
        assert len(held.order) == 2000 and not mine[counts == 0].any()


@fedmpi.partition
def to_nobody(labels, groups, clients, rng, found):
    """No sample has a client."""
    return {"minus": np.full(len(labels), -1), "nothing": None, "dict": {0: [0, 1]}}[found]


NOBODY = {"minus": "-1 for all 7 samples, so no client has any", "nothing": "a NoneType; return",
          "dict": "a dict; return the client"}


@pytest.mark.parametrize("found", NOBODY)
def test_a_partition_that_gives_nothing_is_refused(found):
    """A run without any sample ended well, with the advice to look for late clients."""
    with pytest.raises(ConfigError, match=f"to_nobody': returned {NOBODY[found]}"):
        split(f"{__name__}:to_nobody", [0] * 7, None, 2, {"found": found}, rng_for(0, "partition"))
