"""A round's rates, energy and time, by hand; and whole runs under traces."""

import numpy as np
import pytest

from fedmpi.config import read
from fedmpi.errors import ConfigError
from fedmpi.experiment import resolve
from fedmpi.record import reader
from fedmpi.record.schema import CLIENT_STATUS
from fedmpi.round.loop import Simulation
from fedmpi.simulated import DevicesSection
from fedmpi.world.clock import Spans
from fedmpi.world.conditions import RATES, Conditions, conditions_of
from fedmpi.world.devices import devices_of
from fedmpi.world.energy import grams, joules
from fedmpi.world.schedule import Schedule
from fedmpi.world.series import CARBON, LINKS, Links, series_in, value_at
from tests.algorithms.problem import assemble_tree


def devices(text, number=40000):
    return devices_of(read(f"[clients]\nnumber = {number}\n[devices]\n{text}", "a.toml"), seed=0)


def test_nothing_changes_without_traces():
    found = devices("profile = 'mobile'")
    assert conditions_of(found, Schedule(), 1, 2, 3.0).devices is found


def test_jitter_is_log_normal_and_belongs_to_round_and_client():
    found, clients = devices("jitter = 0.3", 4000), np.arange(4000)
    one, same, other = (conditions_of(found, Schedule(), 1, n, t).devices
                        for n, t in ((4, 0.0), (4, 9.0), (5, 0.0)))  # fmt: skip
    rates = {name: getattr(one, name)[clients] for name in RATES}
    logs = np.array([np.log(rates[name] / getattr(found, name)) for name in RATES])
    np.testing.assert_allclose(logs.mean(axis=1), 0, atol=4 * 0.3 / 60)
    np.testing.assert_allclose(logs.std(axis=1), 0.3, rtol=0.05)
    assert abs(np.corrcoef(logs) - np.eye(4)).max() < 0.06
    for name in RATES:  # for any clients, in any order
        assert getattr(same, name)[7] == rates[name][7]
        backwards = getattr(same, name)[clients[::-1]]
        np.testing.assert_array_equal(backwards, rates[name][::-1])
        assert (rates[name][:99] != getattr(other, name)[clients[:99]]).all()


def test_links_over_time():
    text = ",".join(LINKS) + "\n1,5,7,8\n0,10,3,4\n0,0,1,2\n"
    links = Links(series_in(text, "a.csv", LINKS))
    for now, up in (
        (0, [1, 7, 1, 7]),
        (9.9, [1, 7, 1, 7]),
        (10, [3, 7, 3, 7]),
        (1e9, [3, 7, 3, 7]),
    ):
        found = links.at(now, np.arange(4))
        assert links.at(now, np.int64(3))[0] == up[3]
        assert found[0].tolist() == up and found[1].tolist() == [u + 1 for u in up]


BAD = {
    "a: line 1: must be second,g_per_kwh": "second\n",
    "a: has no line below the names": "second,g_per_kwh\n",
    "a: line 3: g_per_kwh = inf: must be from 0 to 1e+09": "second,g_per_kwh\n0,1\n0,inf\n",
    "a: line 2: g_per_kwh = -1: must be from 0 to": "second,g_per_kwh\n0,-1\n",
    "a: line 2: second = nan: must be from 0 to": "second,g_per_kwh\nnan,1\n",
    "a: line 2: must be 2 numbers": "second,g_per_kwh\n0,x\n",
    "a: line 3: must be 2 numbers": "second,g_per_kwh\n0,1\n0,1,2\n",
    "a: second 5 appears twice": "second,g_per_kwh\n5,1\n0,2\n5,3\n",
    "a: client 0, second 5 appears twice": ",".join(LINKS) + "\n0,5,1,1\n0,5,2,2\n",
    "a: line 2: up_mbit_s = 1e-300: must be from 1e-06": ",".join(LINKS) + "\n0,0,1e-300,1\n",
    "a: line 2: not CSV: field larger": f"second,g_per_kwh\n0,{'1' * 140_000}\n",
    "a: has a client 2 and no client 1; number the clients 0, 1, 2, ... without a gap":
        ",".join(LINKS) + "\n0,0,1,1\n2,0,1,1\n",
    "a: line 1: has no comma; separate columns by commas": "second;g_per_kwh\n0;0,5\n",
}


@pytest.mark.parametrize("message", BAD)
def test_a_fault_of_a_series_is_named(message):
    with pytest.raises(ConfigError) as caught:
        series_in(BAD[message], "a", LINKS if BAD[message].startswith("client") else CARBON)
    assert message in str(caught.value)


@pytest.mark.parametrize("held", [
    "recorded = []", "recorded = [[]]", "recorded = [[0.0]]", "recorded = [[inf]]",
    "recorded = [[9.0, 1.0]]", "recorded = [[9.0, 4.0, 1.0]]", "recorded = [[9.0, 4.0, 10.0]]",
    "links = []", "links = [[0, 0, 1]]", "links = [[0, 0, 1, 0]]",
    "links = [[1, 0, 1, 1], [0, 0, 1, 1]]", "intensity = []", "intensity = [[1]]",
    "intensity = [[0, nan]]",
])  # fmt: skip
def test_what_a_configuration_holds_of_files_is_checked(held):
    key = held.partition(" ")[0]
    with pytest.raises(ConfigError, match=f"devices.{key}"):
        devices(held, 4)


def test_joules_and_grams_by_hand():
    found = devices("power_w = 5\nidle_w = 0.5\njoule_per_mb = 2", number=2)
    span = Spans(np.array([1.0, 2.0]), np.array([10.0, 0.0]), np.array([3.0, 0.0]))
    energy = joules(found, np.arange(2), span, np.array([4_000_000, 1_000_000]))
    assert energy.tolist() == [5 * 10 + 0.5 * 4 + 2 * 4, 0.5 * 2 + 2 * 1]
    assert {"power_w", "idle_w", "joule_per_mb"} < found.columns().keys()
    rows = series_in("second,g_per_kwh\n0,100\n60,400\n", "a", CARBON)
    assert value_at(rows, 59.9) == 100 and value_at(rows, 60) == 400
    number = DevicesSection(carbon_g_per_kwh=300.0)
    over_time = DevicesSection(carbon_g_per_kwh="a.csv", intensity=rows)
    assert grams(7.2e6, number, 5.0) == 600 and grams(7.2e6, over_time, 61.0) == 800


@pytest.mark.parametrize("schedule", [{}, {"mode": "async", "buffer_size": 2}])
def test_grams_are_those_of_the_second_at_which_the_first_client_is_there(schedule):
    """The grid was that of the end of the round before, however long the server waited."""
    there, grid = ((1000.0, 500.0, 900.0),), ((0.0, 0.0), (400.0, 3.6e6))
    made = assemble_tree({
        "clients": {"number": 4}, "model": {"name": "softmax"}, "schedule": schedule,
        "devices": {"trace": "a.csv", "recorded": there, "carbon_g_per_kwh": "b.csv",
                    "intensity": grid, "power_w": 4.0},
    })  # fmt: skip
    row = Simulation(*made).round()
    assert row.clients["virtual_start"].min() >= 500
    assert row.columns["joules"] > 0
    np.testing.assert_allclose(row.columns["co2_g"], row.columns["joules"], rtol=1e-12)


def test_a_report_after_its_client_went_away_is_lost():
    found, left = devices("", number=3), np.array([5.0, 20.0, np.inf])
    span = Spans(*np.full((3, 3), 4.0))
    conditions, clients = Conditions(found, Schedule(11.0), 100.0, left), np.arange(3)
    late = conditions.for_each(clients).late(span)
    assert late.tolist() == [True] * 3 and conditions.away(clients, late).tolist() == [1, 0, 0]
    seen = conditions.for_each(clients).cut_off(span, late, np.zeros(3, bool))
    assert seen.total.tolist() == [5, 11, 11] and seen.compute.tolist() == [1, 4, 4]
    waits = Conditions(found, Schedule(), 100.0, left)
    assert waits.for_each(clients).late(span).tolist() == [True, False, False]


RUN = """
[run]
rounds = 6
seed = 3
trainer = "torch"
checkpoint_every = 2
checkpoint_share = 1.0
[clients]
number = 12
per_round = 6
[model]
name = "softmax"
[devices]
profile = "phones"
trace = {trace}
on_s = 0.6
off_s = 0.3
jitter = 0.2
power_w = 4
idle_w = 1
joule_per_mb = 3
carbon_g_per_kwh = 400
bandwidth = "links.csv"
[schedule]
{schedule}
"""
FILES = {
    "links.csv": ",".join(LINKS) + "\n0,0,1,2\n0,1.5,3,4\n1,0,0.5,9\n",
    "spells.csv": "client,start,stop,state\n0,0,1,on\n1,0.4,3,on\n2,2,2.5,on\n3,0,4,on\n",
}


def columns(path, without=("rank",)):
    with reader.open(path) as run:
        names = ("virtual_time", "bytes_up", "flops", "joules", "co2_g", "test_accuracy")
        found = {name: np.array(run.rounds[name]) for name in names}
        found |= {f"c {n}": np.array(run.clients[n]) for n in run.clients if n not in without}
        return found | {f"d {n}": np.array(run.devices[n]) for n in run.devices}


ASYNC = 'mode = "async"\nbuffer_size = 3'


@pytest.mark.parametrize(
    ("trace", "schedule"), [('"on-off"', ""), ('"spells.csv"', ""), ('"nights"', ASYNC)]
)
def test_ranks_and_a_break_change_nothing(run_fedmpi, tmp_path, trace, schedule):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "a.toml").write_text(RUN.format(trace=trace, schedule=schedule))
    for out, ranks in (("one.h5", None), ("two.h5", 2)):
        done = run_fedmpi("run", "a.toml", "-o", out, "--quiet", ranks=ranks)
        assert done.returncode == 0, done.stderr
    short = run_fedmpi("run", "a.toml", "-o", "cut.h5", "--quiet", "--set", "run.rounds=3")
    assert short.returncode == 0, short.stderr
    for name in FILES:
        (tmp_path / name).unlink()  # a run that goes on needs no file
    done = run_fedmpi("resume", "cut.h5", "--quiet", "--set", "run.rounds=6")
    assert done.returncode == 0, done.stderr
    one, two, cut = (columns(tmp_path / name) for name in ("one.h5", "two.h5", "cut.h5"))
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name], err_msg=name)
        np.testing.assert_array_equal(values, cut[name], err_msg=name)
    assert (one["joules"] > 0).all() and one["virtual_time"][-1] > 0
    np.testing.assert_allclose(one["co2_g"], one["joules"] / 3.6e6 * 400, rtol=1e-12)
    assert "d shift_s" in one and ("d trace" in one) == ("csv" in trace)
    away = one["c status"] == CLIENT_STATUS.index("unavailable")
    if "on-off" in trace and not schedule:
        assert away.any() and not away.all()


def test_a_large_population_is_planned_without_a_loop_over_it():
    text = "profile = 'phones'\njitter = 0.1\ndropout = 0.1\ntrace = 'on-off'"
    found = devices(text, number=100_000)
    conditions = conditions_of(found, Schedule(), 1, 2, 1e6)
    there = found.presence.there(1e6)
    assert conditions.left.shape == (100_000,) and abs(there.mean() - 0.5) < 0.01


def test_files_are_missed_by_their_key(tmp_path):
    with pytest.raises(ConfigError, match=r"devices.trace: none.csv: No such file"):
        resolve.resolve("[devices]\ntrace = 'none.csv'", str(tmp_path / "a.toml"))
    with pytest.raises(ConfigError, match="'often' is unknown; use 'nights', 'on-off', or"):
        read("[devices]\ntrace = 'often'", "a.toml")
