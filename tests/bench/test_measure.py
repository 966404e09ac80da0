"""The arithmetic of benchmarks; nothing here depends on how fast anything is."""

import json
import math

import numpy as np
import pytest

from fedmpi.bench import measure
from fedmpi.bench.measure import Bar, Spread


def test_a_spread_is_of_all_values():
    spread = Spread.of([4.0, 1.0, 2.0, 10.0, 3.0])
    assert (spread.low, spread.median, spread.high, spread.count) == (1.0, 3.0, 10.0, 5)
    assert spread.quartiles == (2.0, 4.0)


def test_a_spread_of_nothing_is_unknown_and_fits_into_json():
    spread = Spread.of([])
    assert spread.count == 0 and math.isnan(spread.median)
    assert json.loads(json.dumps(spread.plain(), allow_nan=False))["median"] is None


@pytest.mark.parametrize(
    ("value", "at_least", "met"),
    [
        (2.5, True, True),
        (2.49, True, False),
        (2.5, False, True),
        (2.51, False, False),
        (None, True, None),
        (math.nan, False, None),
    ],
)
def test_a_bar_is_met_on_its_own_side(value, at_least, met):
    bar = Bar("name", value, 2.5, at_least)
    assert bar.met is met
    assert bar.plain()["kind"] == (">=" if at_least else "<=")


def test_a_quick_look_judges_nothing():
    (bar,) = measure.judged([Bar("name", 3.0, 2.5)], quick=True)
    assert bar["met"] is None and bar["value"] == 3.0 and "quick" in bar["note"]
    assert measure.judged([Bar("name", 3.0, 2.5)], quick=False)[0]["met"] is True


def test_plain_makes_json_of_numpy_and_of_what_is_no_number():
    tree = {1: np.float32(0.5), "list": (np.int64(3), math.inf, math.nan), "yes": np.bool_(True)}
    text = json.dumps(measure.plain(tree), allow_nan=False)
    assert json.loads(text) == {"1": 0.5, "list": [3, None, None], "yes": True}


def test_arms_take_turns_after_one_call_that_does_not_count():
    calls = []
    arms = {name: lambda name=name: calls.append(name) for name in "ab"}
    taken = measure.interleaved(arms, repeats=3)
    assert "".join(calls) == "ab" + "ab" * 3
    assert {name: len(times) for name, times in taken.items()} == {"a": 3, "b": 3}


def test_the_first_call_is_not_counted(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(measure, "perf_counter", lambda: float(next(clock)))
    calls = []
    # Each reading of this clock is a second later.
    assert measure.repeat(lambda: calls.append(1), repeats=2) == [1.0, 1.0]
    assert len(calls) == 1 + 2


def test_ratios_are_of_pairs():
    assert measure.ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="argument 2"):
        measure.ratios([1.0], [1.0, 2.0])


def test_floors_count_both_ways_of_a_copy_and_two_flops_a_product(monkeypatch):
    monkeypatch.setattr(measure, "repeat", lambda function, repeats: [2.0, 0.5])
    assert measure.copy_bandwidth(size=800) == 2 * 800 / 0.5
    assert measure.gemm_rate(side=10) == 2 * 1000 / 0.5
