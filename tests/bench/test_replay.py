"""The replay against closed forms of LogGP."""

import numpy as np
import pytest

from fedmpi.bench import simgrid
from fedmpi.bench.replay import (
    LONG,
    ModelledNetwork,
    Round,
    dense,
    gather,
    lists,
    logged,
    replay,
    trace,
)

WIDE = ModelledNetwork(latency=0.0, overhead=0.0, per_byte=1e-9)  # bandwidth only
SLOW = ModelledNetwork(latency=1e-3, overhead=1e-4, per_byte=0.0)  # latency only


def one(source, target, size, **more):
    return Round(np.array([source]), np.array([target]), np.array([float(size)]), **more)


def test_one_message_takes_its_overheads_latency_and_bytes():
    network = ModelledNetwork(latency=5.0, overhead=1.0, per_byte=0.5)
    clock = replay([one(0, 1, 8, work=2.0, adding=3.0)], 3, network)
    # Sent at 2, gone at 2 + 1 + 8 * 0.5, there 5 later; the overhead and the adding come after.
    np.testing.assert_allclose(clock, [7.0, 16.0, 0.0])


def test_a_long_message_waits_for_its_handshake_and_its_sender_with_it():
    network = ModelledNetwork(latency=5.0, overhead=1.0, per_byte=1 / LONG, handshake=10.0)
    np.testing.assert_allclose(replay([one(0, 1, LONG)], 2, network), [2.0, 8.0])
    np.testing.assert_allclose(replay([one(0, 1, 2 * LONG)], 2, network), [13.0, 19.0])


def test_a_rank_sends_its_next_message_when_its_card_is_free():
    clock = replay([one(0, 1, 100), one(0, 2, 100)], 3, WIDE)
    np.testing.assert_allclose(clock[1:], [1e-7, 2e-7])


@pytest.mark.parametrize("ranks", [2, 4, 64])
def test_a_dense_allreduce_takes_what_rabenseifner_says(ranks):
    share = 2 * (ranks - 1) / ranks
    assert replay(dense(ranks, 8e6), ranks, WIDE).max() == pytest.approx(8e6 * share * 1e-9)
    added = (ranks - 1) / ranks * 8e6  # each rank adds all but its own part
    slower = replay(dense(ranks, 8e6, combine=1e-9), ranks, WIDE).max()
    assert slower == pytest.approx(8e6 * share * 1e-9 + added * 1e-9)
    steps = 2 * np.log2(ranks)
    assert replay(dense(ranks, 8e6), ranks, SLOW).max() == pytest.approx(steps * 1.2e-3)


@pytest.mark.parametrize("ranks", [2, 3, 5, 8, 13])
def test_gathering_gives_everyone_every_block_in_few_rounds(ranks):
    sizes = np.arange(1.0, ranks + 1)
    rounds = list(gather(sizes))
    assert len(rounds) == int(np.ceil(np.log2(ranks)))
    got = sum(np.bincount(r.target, r.bytes, ranks) for r in rounds)
    np.testing.assert_allclose(got, sizes.sum() - sizes)


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_long_blocks_go_straight_from_each_to_each(ranks):
    sizes = np.full(ranks, 4.0 * LONG)
    rounds = list(gather(sizes, work=1e-9))
    got = sum(np.bincount(r.target[r.target >= 0], r.bytes[r.target >= 0], ranks) for r in rounds)
    np.testing.assert_allclose(got, (ranks - 1) * sizes)
    # Every card sends for (P - 1) b G without a pause, and what came is then added.
    clock = replay(rounds, ranks, WIDE)
    np.testing.assert_allclose(clock, (ranks - 1) * sizes * 2e-9)


def test_lists_cost_work_on_both_sides():
    network = ModelledNetwork(0.0, 0.0, 0.0, work=2.0)
    message = lists(np.array([0]), np.array([1]), np.array([3.0]), network)
    np.testing.assert_allclose(replay([message], 2, network), [3.0, 6.0])


def test_a_log_is_replayed_with_the_work_that_was_measured():
    kinds = [("step", int), ("source", int), ("target", int), ("bytes", int)]
    kinds += [("kind", "U12"), ("work", float)]
    rows = np.array(
        [
            (0, 0, -1, 8, "allgather", 1.0),
            (0, 1, -1, 8, "allgather", 2.0),
            (1, 0, 1, 50, "pair", 3.0),
            (1, 1, 0, 70, "pair", 1.0),
            (2, 0, -1, 0, "done", 0.5),
            (2, 1, -1, 0, "done", 0.25),
        ],
        kinds,
    )
    clock = replay(logged(rows, 2), 2, ModelledNetwork(0.0, 0.0, 0.0))
    # Both are at 2 after the first gathering; rank 0 sends at 5, and rank 1 waits for it.
    np.testing.assert_allclose(clock, [5.5, 5.25])


def test_a_rank_that_serves_two_waits_for_the_second():
    """Three ranks: 2 sends to 0 after 0 and 1 have exchanged, all in the log's own words."""
    kinds = [("step", int), ("source", int), ("target", int), ("bytes", int)]
    kinds += [("kind", "U12"), ("work", float)]
    rows = np.array(
        [
            (0, 0, 1, 40, "pair", 1.0),
            (0, 1, 0, 20, "pair", 2.0),
            (1, 0, -1, 0, "pair", 4.0),  # adds what 1 sent, then only receives
            (1, 2, 0, 30, "pair", 3.0),
            (2, 0, -1, 0, "done", 8.0),
        ],
        kinds,
    )
    network = ModelledNetwork(latency=100.0, overhead=10.0, per_byte=1.0)
    clock = replay(logged(rows, 3), 3, network)
    # 1: sends at 2, gone at 32, gets at 1 + 10 + 40 + 100 + 10. 0: gone at 51, gets at 142, adds
    # until 146; 2 sends at 3, gone at 43, there at 143: before 0 asks, so 146 + 10 + 8.
    np.testing.assert_allclose(clock, [164.0, 161.0, 43.0])


@pytest.mark.parametrize("ranks", [4, 5])
def test_a_trace_holds_every_message_once_on_both_sides(ranks):
    rounds = [*dense(ranks, 1000.0), one(0, -1, 0, work=2.0)]
    lines = trace(rounds, ranks, speed=10.0)
    words = [line.split() for mine in lines for line in mine]
    count = {kind: sum(word[1] == kind for word in words) for kind in ("isend", "irecv", "wait")}
    messages = sum((r.target >= 0).sum() for r in rounds)
    assert count == {"isend": messages, "irecv": messages, "wait": 2 * messages}
    assert lines[0][0] == "0 init" and lines[0][-2:] == ["0 compute 20", "0 finalize"]


@pytest.mark.skipif(not simgrid.found(), reason="SimGrid (smpirun) is not installed")
@pytest.mark.parametrize("ranks", [4, 5, 16])
def test_simgrid_comes_to_the_same_time(ranks):
    network = ModelledNetwork(latency=1.5e-5, overhead=0.0, per_byte=8e-10, work=1e-9)
    rounds = [*dense(ranks, 1e6, 1e-10), *gather(np.full(ranks, 1e5), network.work)]
    theirs = simgrid.seconds(rounds, ranks, network)
    assert replay(rounds, ranks, network).max() == pytest.approx(theirs, rel=0.1)
