"""The values that [devices] policy chooses: beside a search, and in whole runs."""

import numpy as np
import pytest

from fedmpi.algorithms.shortened import shortened
from fedmpi.comm.codec import size_of
from fedmpi.errors import ConfigError
from fedmpi.experiment.resolve import of_tree
from fedmpi.flops import count
from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.round.status import COMPLETED, LATE
from fedmpi.world.clock import spans
from tests.algorithms.problem import experiment, simulate, trained

DEVICES = (
    "devices.profile=tiers",
    "devices.tiers=[{name='slow',share=1,gflop_s=1e-3,up_mbit_s=0.02,down_mbit_s=0.05,latency_s=0},"
    "{name='middle',share=1,gflop_s=1e-3,up_mbit_s=0.1,down_mbit_s=0.5,latency_s=0},"
    "{name='fast',share=1,gflop_s=1.0,up_mbit_s=10,down_mbit_s=50,latency_s=0}]",
)
FIT = (*DEVICES, "devices.policy=fit-deadline", "schedule.mode=deadline")


def seconds(made, plan, client):
    """The virtual seconds of a plan, from its sizes."""
    cost = made.costs.of(plan, client)
    return spans(made.devices, client, cost.bytes_down, cost.bytes_up, cost.flops).total


VALUES = {  # method: (keys, deadline, ascending values, the value that a client has, plan of it)
    "heterofl": (
        {"widths": [1.0, 0.5, 0.25]}, 0.6, (0.25, 0.5, 1.0),
        lambda a, c: a.keys.widths[a.width_of(c)], lambda a, v: a._plan_of_width(v),
    ),
    "fedlp-hetero": (
        {}, 0.35, (1, 2, 3, 4, 5), lambda a, c: a.level_of(c), lambda a, v: a._plan_of_level(v),
    ),
    "topk": (
        {"share": 0.64}, 1.0, tuple(0.64 / 2**k for k in range(6, -1, -1)),
        lambda a, c: a.share_of(c), lambda a, v: a._typical(v),
    ),
    "adp-v2": (
        {"salient": 0.5}, 0.85, tuple(0.5 - 0.05 * k for k in range(9, -1, -1)),
        lambda a, c: a.salient_of(c), lambda a, v: a._typical(v),
    ),
    "adp-v1": (
        {"ratio": 0.8}, 0.9, tuple(0.1 * k for k in range(1, 9)),
        lambda a, c: a.ratio_of(c), lambda a, v: a._typical(v),
    ),
    "fedskel": (
        {"ratio": 1.0}, 1.0, tuple(1.0 - 0.05 * k for k in range(18, -1, -1)),
        lambda a, c: a.ratio_of(c), lambda a, v: a._typical(v),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(VALUES))
def test_a_client_gets_the_largest_value_in_time(name):
    keys, deadline, values, value_of, plan_of = VALUES[name]
    made = experiment(name, (*FIT, f"schedule.deadline_s={deadline}"), **keys)
    found = set()
    for client in range(12):
        fits = [v for v in values if seconds(made, plan_of(made.algorithm, v), client) <= deadline]
        value = value_of(made.algorithm, client)
        assert value == pytest.approx(fits[-1] if fits else values[0])
        found.add(value)
    assert len(found) > 1, found


def test_a_client_with_a_ratio_of_its_own_trains_as_in_a_run_with_that_ratio():
    made = experiment("adp-v1", (*DEVICES, "devices.policy=speed"), ratio=0.8)
    client = int(made.devices.speed.argmin())
    plain = experiment("adp-v1", ratio=0.1)
    assert np.array_equal(plain.weights, made.weights)
    plans, reports = zip(*((job.plan, report) for job, report in (
        trained(one, one.algorithm.start(one.weights), 0, client) for one in (made, plain)
    )), strict=True)
    assert np.array_equal(reports[0].weights, reports[1].weights)
    assert np.array_equal(plans[0].gates, plans[1].gates)
    assert made.flops(plans[0], reports[0]) == plain.flops(plans[1], reports[1])


def test_by_speed_and_with_fixed_the_keys_hold():
    made = experiment("fedskel", (*DEVICES, "devices.policy=speed"), ratio=0.5)
    speed = np.unique(made.devices.speed)
    assert speed[-1] == 1.0 and speed[0] < 0.1
    for client in range(12):
        at_most = made.devices.speed[client] == 1.0
        assert made.algorithm.ratio_of(client) == pytest.approx(0.5 if at_most else 0.1)
    state = made.algorithm.start(made.weights)
    assert all(made.plan(state, 0, client).steps is None for client in range(12))
    plain = experiment("fedskel", DEVICES, ratio=0.5).algorithm
    assert {plain.ratio_of(client) for client in range(12)} == {0.5}


@pytest.mark.parametrize(
    ("name", "keys"),
    [("static-mask", {"mask": "erk"}), ("adp-v1", {"ratio": 0.5}), ("heterofl", {"widths": [0.5]})],
)
def test_the_work_of_a_part_of_the_model_is_less_than_that_of_the_whole(name, keys):
    made = experiment(name, **keys)
    job, report = trained(made, made.algorithm.start(made.weights), 0, 3)
    found = made.flops(job.plan, report)
    assert found == made.costs.of(job.plan, 3).flops
    assert found < 0.9 * report.seen * count(made.layout).sum()


@pytest.mark.parametrize(("stages", "deadline"), [("[]", 1.1), ("[{name='secure'}]", 1.6)])
def test_steps_are_as_many_as_are_in_time(stages, deadline):
    """Of the bytes that a client receives, those that a stage sends count as well."""
    keys = ("devices.knob=steps", f"schedule.deadline_s={deadline}", "clients.local_steps=7")
    made = experiment("fedavg", (*FIT, *keys, f"stage={stages}"))
    state, found = made.algorithm.start(made.weights), set()
    for client in range(12):
        plan = made.plan(state, 0, client)
        each = made.costs.of(plan, client).flops / plan.steps
        device = [getattr(made.devices, name)[client] for name in ("gflop_s", "latency_s")]
        none = seconds(made, plan, client) - each * plan.steps / (1e9 * device[0])
        fits = [n for n in range(1, 8) if none + n * each / (1e9 * device[0]) <= deadline]
        assert plan.steps == (fits[-1] if fits else 1)
        found.add(plan.steps)
    assert len(found) > 1, found


@pytest.mark.parametrize("name", ["fedsgc", "flash"])
def test_a_mask_moves_in_the_middle_of_fewer_steps(name):
    """It moved in the middle of all steps, so not on clients that took half of them or fewer."""
    keys = {"sparsity": 0.5, "every": 1} | ({"alpha": 1.0} if name == "fedsgc" else {"rate": 1.0})
    some = ("devices.knob=steps", "clients.local_steps=8", "schedule.deadline_s=0.7")
    made, found = experiment(name, (*FIT, *some), **keys), set()
    state = made.algorithm.start(made.weights)
    if name == "flash":
        sums = made.algorithm.zero()
        state = made.algorithm.step(state, sums, 0)  # by the mask of a warm-up of nobody
    for client in range(12):
        plan = made.plan(state, 1, client)
        _, report = trained(made, state, 1, client, plan)
        assert [at for at, _ in plan.readjust] == [plan.steps // 2 + 1]
        assert report.steps == plan.steps and (report.statistics["mask"] != plan.mask).any()
        found.add(plan.steps)
    assert min(found) <= 4 and max(found) == 8


@pytest.mark.parametrize(
    ("name", "stages"),
    [("fedavg", "[{name='quantise',bits=4}]"), ("fedavg", "[{name='topk',share=0.1}]"),
     ("scaffold", "[]"), ("scaffold", "[{name='quantise'}]")],
)  # fmt: skip
def test_a_whole_run_leaves_no_step_that_would_be_in_time(name, stages):
    """Smaller messages leave time for more steps; the control variates of SCAFFOLD for fewer."""
    keys = ("devices.knob=steps", "clients.local_steps=7", "clients.per_round=12", "run.rounds=2")
    _, rows = simulate(name, (*FIT, *keys, "schedule.deadline_s=0.9", f"stage={stages}"))
    for clients in (row.clients for row in rows):
        assert (clients["steps"][clients["status"] == LATE] == 1).all()
        seconds = clients["virtual_end"] - clients["virtual_start"]
        more = seconds + clients["seconds_compute"] / clients["steps"]
        assert ((more > 0.9) | (clients["steps"] == 7)).all()
        assert len(set(clients["steps"].tolist())) > 1


def test_a_stage_counts_in_what_a_plan_and_a_whole_round_cost():
    stages = "stage=[{name='clip'}, {name='quantise'}]"  # the first keeps the size
    made = experiment("heterofl", (*FIT, "schedule.deadline_s=0.6", stages))
    plan = made.algorithm._plan_of_width(0.5)
    size = size_of(plan.up, value_type="int8", known=True).total
    assert made.costs.of(plan, 0).bytes_up == size
    plain = experiment("heterofl", (*FIT, "schedule.deadline_s=0.6"))
    whole = Support.all(made.layout)
    less = size_of(whole, known=True).total - size_of(whole, value_type="int8", known=True).total
    np.testing.assert_allclose(
        plain.costs.seconds - made.costs.seconds, 8e-6 * less / made.devices.up_mbit_s, rtol=1e-6
    )
    expected = [seconds(plain, Plan(whole, whole), client) for client in range(12)]
    np.testing.assert_allclose(plain.costs.seconds, expected, rtol=1e-12)


def test_a_slow_client_gets_its_skeleton_under_a_deadline():
    """A whole round is late for slow clients; shortened ones, and then their skeletons, are not."""
    keys = {"ratio": 1.0, "updates_per_set": 2}
    rounds = ("run.rounds=6", "clients.per_round=12", "schedule.deadline_s=0.62")
    run, rows = simulate("fedskel", (*FIT, *rounds), **keys)
    plain, without = simulate("fedskel", (*DEVICES, "schedule.mode=deadline", *rounds), **keys)
    names = np.array(run.experiment.devices.names)[run.experiment.devices.tier]
    slow = np.flatnonzero(names == "slow")
    assert all((row.clients["status"][slow] == LATE).all() for row in without)
    assert all((row.clients["status"] == COMPLETED).all() for row in rows)
    assert not any("skeleton" in plain.memories[int(client)] for client in slow)
    first, second = rows[0].clients[slow], rows[1].clients[slow]
    assert (first["kept"] == 0).all() and (first["steps"] >= 1).all()  # trained and sent nothing
    assert (second["kept"] > 0).all() and (second["kept"] < 1).all()
    fast = np.flatnonzero(names == "fast")
    assert (rows[0].clients[fast]["kept"] == 1).all()


def test_a_plan_is_shortened_no_more_than_it_must_be():
    made = experiment("fedskel", (*FIT, "schedule.deadline_s=1.1", "clients.local_steps=9"))
    state = made.algorithm.start(made.weights)
    for client in range(12):
        plan = made.algorithm.plan(state, 0, client)
        whole = Plan(down=plan.down, up=plan.down)
        assert shortened(made.algorithm.setting, client, whole).steps == plan.steps
        done = plan.steps or 9
        if plan.up.whole and done < 9:
            more = Plan(down=plan.down, up=plan.up, steps=done + 1)
            assert seconds(made, plan, client) <= 1.1 < seconds(made, more, client)
        if not plan.up.size:
            assert seconds(made, Plan(down=plan.down, up=plan.down, steps=1), client) > 1.1


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"devices": {"policy": "fit-deadline"}}, "needs schedule.mode = 'deadline'"),
        ({"devices": {"policy": "speed"}}, "fedavg has no key that .* add devices.knob"),
        ({"devices": {"policy": "fit-time"}}, "'fixed', 'speed', 'fit-deadline' or 'fit-memory'"),
    ],
)
def test_what_cannot_be_chosen_is_refused(sections, words):
    with pytest.raises(ConfigError, match=words):
        of_tree(sections)
