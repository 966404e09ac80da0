"""Whole rounds on many ranks: their parts add up to numbers worked out by hand."""

import numpy as np
import pytest

from fedmpi.bench import whole_rounds
from fedmpi.bench.replay import ModelledNetwork, replay
from fedmpi.bench.whole_rounds import OneRank, checked, drawn, moves, predicted, scaling

WIDE = ModelledNetwork(latency=0.0, overhead=0.0, per_byte=1e-9)
HERE = OneRank(
    work=np.array([10.0, 20.0, 30.0]), weights=4e6, pace=0.5, step=2.0, evaluate=4.0, record=0.25,
    start=3.0,
)  # fmt: skip


def test_one_rank_takes_the_sum_of_what_was_measured():
    parts = predicted(HERE, HERE.work, 1)
    assert parts["train"] == 30.0 and parts["record"] == 0.25
    rest = parts["total"] - parts["place"]
    assert rest == pytest.approx(30 + 2 + 4 + 0.25)


def test_the_slowest_rank_counts_and_evaluation_is_shared():
    parts = predicted(HERE, HERE.work, 2)
    assert parts["train"] == 15.0  # 30 on one rank, 10 + 20 on the other
    assert parts["evaluate"] == 2.0 and parts["step"] == 2.0
    assert predicted(HERE, HERE.work, 3)["train"] == 15.0  # no faster than the largest client


def test_memories_travel_from_where_their_clients_were():
    homes, placed = np.array([0, 0, 1, 2]), np.array([1, 2, 1, 0])
    rounds = list(moves(homes, placed, 1e6))
    assert [len(now.source) for now in rounds] == [2, 1]
    sent = {(s, t) for now in rounds for s, t in zip(now.source, now.target, strict=True)}
    assert sent == {(0, 1), (0, 2), (2, 0)}
    # Rank 0 sends two, one after the other; rank 2 sends one meanwhile.
    assert replay(rounds, 3, WIDE).max() == pytest.approx(2e-3)
    assert list(moves(homes, homes, 1e6)) == []


def test_a_client_without_memory_moves_nothing():
    with_memory = predicted(HERE, np.full(64, 10.0), 4, WIDE, memory=1e6)
    without = predicted(HERE, np.full(64, 10.0), 4, WIDE)
    assert without["move"] == 0.0 < with_memory["move"]
    assert with_memory["train"] == without["train"]


def test_efficiency_is_that_of_one_rank_with_the_same_work(monkeypatch):
    monkeypatch.setattr(whole_rounds, "STRONG", 64)
    even = OneRank(np.array([10.0]), 4.0, 0.5, 0.0, 0.0, 0.0, 0.0)
    free = ModelledNetwork(0.0, 0.0, 0.0)
    sums = [
        {"network": "free", "method": "m", "ranks": 16, "seconds": lost, "memory": 0.0}
        for lost in (0.0, 20.0)
    ]
    rows = scaling(even, sums, {"free": free})
    found = {(row["scaling"], row["reduce"]): row["efficiency"] for row in rows}
    assert found["strong", 0.0] == pytest.approx(1.0, rel=0.01)
    assert found["strong", 20.0] == pytest.approx(0.5, rel=0.01)  # 4 clients of 5 s, and 20 s
    assert found["weak", 20.0] == pytest.approx(0.5, rel=0.01)
    assert {row["clients"] for row in rows} == {64}


def test_a_prediction_is_held_against_real_ranks():
    right = predicted(HERE, HERE.work, 2)["total"]
    bars = checked(HERE, {1: 2 * predicted(HERE, HERE.work, 1)["total"], 2: right})
    assert [round(bar.value, 2) for bar in bars] == [2.0, 1.0]
    assert [bar.met for bar in bars] == [False, True]


def test_clients_are_drawn_from_those_that_were_measured():
    work = drawn(HERE.work, 3000)
    assert set(work) == set(HERE.work) and work.mean() == pytest.approx(20, rel=0.05)
