"""Clients present over virtual time: each generator and record beside a slow search."""

import json
from functools import partial

import numpy as np
import pytest

from fedmpi.config import read
from fedmpi.errors import ConfigError
from fedmpi.experiment import resolve
from fedmpi.experiment.earlier import Earlier
from fedmpi.round.status import COMPLETED
from fedmpi.world.devices import devices_of
from fedmpi.world.nights import Nights
from fedmpi.world.on_off import OnOff
from fedmpi.world.presence import DAY
from fedmpi.world.recorded import Recorded, last_before, spells_of
from fedmpi.world.traces import rows_in
from tests.round.test_flights import simulation

ROWS = ((100.0, 0.0, 10.0, 50.0, 60.0, 90.0, 100.0), (40.0,), (30.0, 5.0, 6.0), (7.0, 0.0, 7.0))


def recorded(clients=8, shift=0.0):
    return Recorded(spells_of(ROWS), np.arange(clients) % 4, np.full(clients, shift))


def there_by_hand(row, second):
    length, *rest = row
    return any(a <= second % length < b for a, b in zip(rest[::2], rest[1::2], strict=True))


@pytest.mark.parametrize("shift", [0.0, 33.0, -3600.0])
def test_a_record_says_who_is_there_and_until_when(shift):
    presence = recorded(shift=shift)
    for now in np.arange(0, 400, 0.5):
        there, leaves, comes = presence.there(now), presence.leaves(now), presence.comes(now)
        for k, row in enumerate(ROWS * 2):
            assert there[k] == there_by_hand(row, now + shift)
            future = now + np.arange(0, 130, 0.5)
            ahead = [there_by_hand(row, second + shift) for second in future]
            if there[k]:
                end = future[ahead.index(False)] if False in ahead else np.inf
                assert leaves[k] == end and comes[k] == now
            else:
                begin = future[ahead.index(True)] if True in ahead else np.inf
                assert comes[k] == pytest.approx(begin, abs=0.002)
                assert not np.isfinite(begin) or presence.there(comes[k])[k]


def test_a_record_of_nobody_keeps_everybody_away():
    presence = Recorded(spells_of(((10.0,),)), np.zeros(3, int), np.zeros(3))
    assert not presence.there(4.0).any() and np.isinf(presence.comes(4.0)).all()
    with pytest.raises(ConfigError, match=r"devices\.trace: no client with samples is ever"):
        presence.begin(4.0, np.ones(3, bool))


def test_a_round_waits_for_the_first_client_that_has_samples():
    presence = recorded(3)
    assert presence.begin(20.0, np.array([True, True, True])) == pytest.approx(35.0, abs=0.002)
    assert presence.begin(20.0, np.array([True, True, False])) == pytest.approx(50.0, abs=0.002)
    assert presence.begin(55.0, np.array([True, False, False])) == 55.0


def test_the_search_in_ranges_is_that_of_numpy(rng):
    lengths = rng.integers(0, 9, 50)
    bounds = np.concatenate(([0], np.cumsum(lengths)))
    values = np.concatenate([np.sort(rng.random(n)) for n in lengths])
    wanted = rng.random(50)
    found = last_before(values, bounds[:-1], bounds[1:], wanted)
    for k in range(50):
        own = values[bounds[k] : bounds[k + 1]]
        assert found[k] == bounds[k] + np.searchsorted(own, wanted[k], side="right") - 1


@pytest.mark.parametrize(("on", "off"), [(10.0, 10.0), (30.0, 5.0), (0.5, 40.0)])
def test_spells_of_the_chain_are_exponential_with_the_means_asked_for(on, off):
    presence = OnOff(3, np.zeros(2000), on, off)
    found = np.array([presence.there(now) for now in np.arange(0, 2000, 50.0)])
    p = on / (on + off)
    # Seconds 50 s apart are nearly independent for these rates; five deviations.
    assert found.mean() == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / found.size * 2))
    now = 123.4
    there = presence.there(now)
    stays = (presence.leaves(now) - now)[there]
    away = (presence.comes(now) - now)[~there]
    for seconds, mean in ((stays, on), (away, off)):
        error = 5 * mean / np.sqrt(len(seconds))
        assert seconds.mean() == pytest.approx(mean, abs=error)  # without memory: the whole mean
        assert (seconds > mean).mean() == pytest.approx(np.exp(-1), abs=2.5 / np.sqrt(len(seconds)))


@pytest.mark.parametrize("make", [
    lambda: OnOff(3, np.zeros(40), 20.0, 10.0),
    *(partial(Nights, 3, 3600.0 * np.arange(-20.0, 20.0), begins, 7.0, 2.0)
      for begins in (24.0, 22.0, 0.0, -12.0, -24.0)),
], ids=["on-off", "24 h", "22 h", "0 h", "-12 h", "-24 h"])  # fmt: skip
def test_changes_come_when_they_are_foretold(make):
    presence = make()
    scale = 1.0 if isinstance(presence, OnOff) else 3600.0
    for now in scale * np.arange(0, 60, 7.3):
        there, leaves, comes = presence.there(now), presence.leaves(now), presence.comes(now)
        for k in range(40):
            change = leaves[k] if there[k] else comes[k]
            for second in now + (change - now) * np.array([0.01, 0.5, 0.99]):
                assert presence.there(second)[k] == there[k]
            assert presence.there(change + 0.002)[k] != there[k]
            assert there[k] == (comes[k] == now)


def test_what_is_there_depends_on_the_second_alone():
    first, again = (OnOff(5, np.zeros(60), 20.0, 10.0) for _ in range(2))
    want = [first.there(now) for now in (0.0, 77.0, 1e6)]
    for now, found in zip((1e6, 77.0, 0.0), want[::-1], strict=True):
        np.testing.assert_array_equal(again.there(now), found)
    assert (OnOff(6, np.zeros(60), 20.0, 10.0).there(77.0) != want[1]).any()
    few = OnOff(5, np.zeros(9), 20.0, 10.0)  # nor on how many other clients there are
    np.testing.assert_array_equal(few.there(77.0), want[1][:9])
    np.testing.assert_array_equal(few.leaves(77.0), first.leaves(77.0)[:9])


def test_nights_are_at_night_in_every_time_zone():
    text = """[clients]\nnumber = 3000
    [devices]\ntrace = "nights"\ntime_zones = [0, -8, 5.5]"""
    devices = devices_of(read(text, "a.toml"), seed=2)
    presence, zone = devices.presence, devices.columns()["shift_s"] / 3600
    assert set(zone) == {0, -8, 5.5} and (zone == -8).sum() == 1000
    for hours in (0, 8, 16, 20):
        there = presence.there(DAY + 3600.0 * hours)
        for of in (0, -8, 5.5):
            local = (hours + of) % 24
            share = there[zone == of].mean()
            if 1.5 <= local <= 2.5:
                assert share > 0.9
            if 10 <= local <= 18:
                assert share < 0.05
    share = np.mean([presence.there(DAY + 600.0 * i).mean() for i in range(144)])
    assert share == pytest.approx(7 / 24, rel=0.03)


def test_fedscale_and_csv_rows():
    text = json.dumps({"7": {"active": [0, 50, 95], "inactive": [10, 60, 120], "finish_time": 100}})
    assert rows_in(text, "a.json") == ((100.0, 0.0, 10.0, 50.0, 60.0, 95.0, 100.0),)
    text = "client,start,stop,state\n1,0,5,away\n0,3,4,on\n0,4,6,available\n\n1,5,9,TRUE\n"
    assert rows_in(text, "a.csv") == ((9.0, 3.0, 6.0), (9.0, 5.0, 9.0))
    # Spells that touch are a single spell, however short each is.
    lines = [f"0,{k / 1000},{(k + 1) / 1000},on" for k in range(5000)]
    found = rows_in("\n".join(["client,start,stop,state", *lines, "1,5,10,off"]), "a.csv")
    assert found == ((10.0, 0.0, 5.0), (10.0,))


def test_flash_rows_begin_at_midnight_and_lines_may_be_out_of_order():
    lines = [
        "2020-01-01 22:00:00 \tscreen_off", "2020-01-01 22:10:00 \twifi",
        "2020-01-01 22:30:00 \tbattery_charged_on", "2020-01-02 01:00:00 \t4G",
        "2020-01-02 00:30:00 \t99.0%", "2020-01-02 02:00:00 \twifi",
        "2020-01-02 03:00:00 \tscreen_on", "2020-01-02 04:00:00 \tscreen_on",
    ]  # fmt: skip
    lines[3] = lines[3].replace(" \t", "+08:00 \t")  # an offset from UTC changes no time of day
    (row,) = rows_in(json.dumps({"0": {"messages": "\n".join(lines)}}), "a.json")
    hours = np.array(row) / 3600
    assert hours.tolist() == [48, 22.5, 25, 26, 27]


BAD = {
    "a: not valid JSON": "{",
    "a: device 'x': has neither 'messages' (FLASH) nor 'active' (FedScale)": '{"x": 1}',
    "a: device 'x': 1 active but 0 inactive times":
        '{"x": {"active": [1], "inactive": [], "finish_time": 4}}',
    "a: device 'x': needs numbers": '{"x": {"active": ["a"], "inactive": [2], "finish_time": 4}}',
    "a: device 'x': ends at second nan":
        '{"x": {"active": [], "inactive": [], "finish_time": NaN}}',
    "a: device 'x': 'hello': must be TIME<tab>EVENT": '{"x": {"messages": "hello"}}',
    "a: has no device": "{}",
    "a: must be an object of devices by name": "[1, 2]",
    "a: no device is ever present":
        "client,start,stop,state\n0,0,9,off\n1,0,0.001,on\n",
    "a: device 'x': from inf to 2": f'{{"x": {{"active": [1{"0" * 400}], "inactive": [2], '
        '"finish_time": 4}}',
    "a: device 'x': needs numbers active, inactive": '{"x": {"active": [true], "inactive": [2], '
        '"finish_time": 4}}',
    "a: line 1: must be client,start,stop,state": "client,start\n",
    "a: line 2: must be client,start,stop,state": "client,start,stop,state\n0,1\n",
    "a: line 3: must be client,start,stop,state":
        "client,start,stop,state\n0,1,2,on\n0,3,4,on,more\n",
    "a: line 2: state = 'asleep': must be one of available":
        "client,start,stop,state\n0,1,2,asleep",
    "a: line 2: needs client >= 0 and 0 <= start": "client,start,stop,state\n0,3,2,on\n",
    "a: has a client 1 and no client 0; number": "client,start,stop,state\n1,1,2,on\n",
    "a: client 1: is present and away at second 5":
        "client,start,stop,state\n0,0,9,on\n1,0,10,on\n1,10,12,off\n1,5,6,off\n",
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_a_fault_of_a_trace_is_named(message):
    with pytest.raises(ConfigError) as caught:
        rows_in(BAD[message], "a")
    assert message in str(caught.value)


def test_the_hundred_phones_of_flash(data_root):
    path = data_root / "device-traces/flash-state-traces-100/traces.txt"
    text = f"[clients]\nnumber = 250\n[devices]\ntrace = '{path}'"
    resolved = resolve.resolve(text, "a.toml")
    rows, tree = resolved.config.devices.recorded, json.loads(path.read_text())
    shares = []
    for row, device in zip(rows, tree.values(), strict=True):
        days = {line[:19] for line in device["messages"].split("\n")}
        first, last = (np.datetime64(f(days).strip().replace(" ", "T")) for f in (min, max))
        seconds = (last - first) / np.timedelta64(1, "s")
        shares.append(sum(row[2::2]) / seconds - sum(row[1::2]) / seconds)
    # As shared/data says of these phones: quartiles 0, 0.018, 0.098, the largest 0.55, mean 0.069.
    found = np.quantile(shares, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found, [0, 0, 0.018, 0.098, 0.55], atol=0.006)
    assert np.mean(shares) == pytest.approx(0.069, abs=0.001)
    devices = devices_of(resolved.config, seed=0)
    assert sorted(np.bincount(devices.columns()["trace"])) == [2] * 50 + [3] * 50
    again = Earlier(text, resolved.values()).resolved("out.h5")
    assert again.config.devices == resolved.config.devices


def test_who_is_at_work_does_not_leave():
    """Of asynchronous rounds; one of the slowest device takes longer than most spells."""
    run = simulation(devices={"trace": "on-off", "on_s": 0.1, "off_s": 0.3, "jitter": 0.3})
    presence, begun = run.experiment.devices.presence, 0
    for round in range(8):
        now, idle = run.virtual_time, not len(run.cohorts._flying)
        now = presence.begin(now, run.experiment.sizes > 0) if idle else now
        rows = run.round().clients
        fresh = run.cohorts._flying["client"][run.cohorts._flying["version"] == round]
        assert presence.there(now)[fresh].all()  # but who is away does not begin
        begun += len(fresh)
        assert (rows["status"] == COMPLETED).all() and 1 <= len(rows) <= 2
        spans = rows["virtual_end"] - rows["virtual_start"]
        sums = rows["seconds_down"] + rows["seconds_compute"] + rows["seconds_up"]
        np.testing.assert_allclose(spans, sums, rtol=1e-9)
    assert begun
