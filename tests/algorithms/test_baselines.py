"""The baselines against their papers' formulas, on a layout small enough for hand work."""

from dataclasses import replace

import numpy as np
import pytest

from fedmpi.algorithms import ALGORITHMS
from fedmpi.algorithms.base import Setting
from fedmpi.config import Optimizer
from fedmpi.errors import ConfigError
from fedmpi.layout import Support
from fedmpi.plan import Plan, Report
from fedmpi.sparsity import coordinates
from tests.algorithms.problem import experiment, simulate, weights_of
from tests.models import TINY, WEIGHTS

WHOLE = Support.all(TINY)
PRUNABLE = coordinates(TINY, (0, 2))


def made(name, layout=TINY, momentum=0.0, clients=10, **keys):
    cls = ALGORITHMS[name]
    setting = Setting(
        layout, 1, 100, clients, True, np.ones(clients), Optimizer(momentum=momentum)
    )
    return cls(cls.Keys(**keys), setting)


def report_of(weights, client=0, share=0.5, steps=1, lr=0.1, **statistics):
    weights = np.asarray(weights, np.float32)
    return Report(client, 1, 1, steps, share, 0.0, weights, lr=lr, statistics=statistics)


def one_round(algorithm, state, reports, round=0):
    """Plan, send, add and step, with Reports made by hand."""
    sums = algorithm.zero()
    for report in reports:
        plan = algorithm.plan(state, round, report.client)
        parts = algorithm.message(state, plan, report)
        held = {k: (np.where(s.mask(), v, 0).astype(np.float32), s) for k, (v, s) in parts.items()}
        memory = algorithm.remember(state, plan, report, held)
        algorithm._memory[report.client] = memory or {}
        more = {key: values for key, (values, _) in held.items()}
        weights, support = held["weights"]
        sent = Report(**vars(report) | {"weights": weights, "statistics": more})
        up = Plan(**{**vars(plan), "up": support})
        algorithm.add(sums, up, sent)
    return algorithm.step(state, sums, round)


class TestFedNova:
    def test_clients_count_by_direction_not_by_steps(self):
        """w - (sum p a)(sum p (w - w_i) / a): 2 steps of 1 and 8 steps of 1/4 each."""
        algorithm = made("fednova")
        state = algorithm.start(np.zeros(20, np.float32))
        two, eight = np.full(20, -2.0), np.full(20, -2.0)
        after = one_round(algorithm, state, [
            report_of(two, 0, 0.5, steps=2), report_of(eight, 1, 0.5, steps=8),
        ])["weights"]  # fmt: skip
        np.testing.assert_allclose(after[:17], -(5.0 * 0.5 * (2 / 2 + 2 / 8)), rtol=1e-6)
        np.testing.assert_allclose(after[17:], -2.0)  # running statistics: the plain mean

    def test_momentum_makes_steps_longer(self):
        algorithm = made("fednova", momentum=0.9)
        tau, rho = 5, 0.9
        by_hand = sum((1 - rho ** (tau - k)) / (1 - rho) for k in range(tau))
        assert algorithm.length(5) == pytest.approx(by_hand)
        assert made("fednova").length(5) == 5


class TestScaffold:
    def test_option_two_by_hand(self):
        """c_i+ = c_i - c + (w - w_i) / (steps lr); c moves by the sum over all ten clients."""
        algorithm = made("scaffold")
        state = algorithm.start(np.zeros(20, np.float32))
        state["control"] = np.full(20, 0.5, np.float32) * TINY.trained
        plan = algorithm.plan(state, 0, 0)
        assert np.array_equal(plan.control, state["control"])
        assert set(plan.more_down) == {"control"}
        after = one_round(algorithm, state, [
            report_of(np.full(20, -1.0), 0, 0.25, steps=2), report_of(np.full(20, 3.0), 1, 0.75, 5),
        ])  # fmt: skip
        np.testing.assert_allclose(after["weights"], 2.0)
        first, second = 1 / 0.2 - 0.5, -3 / 0.5 - 0.5
        np.testing.assert_allclose(after["control"][:17], 0.5 + (first + second) / 10, rtol=1e-6)
        assert not after["control"][17:].any()
        np.testing.assert_allclose(algorithm.memory(0)["control"][:17], first, rtol=1e-6)
        again = algorithm.plan(after, 1, 0).control
        np.testing.assert_allclose(again[:17], after["control"][:17] - first, rtol=1e-6)

    def test_the_released_rule_moves_by_the_mean_of_the_cohort(self):
        algorithm = made("scaffold", variant="released")
        state = algorithm.start(np.zeros(20, np.float32))
        after = one_round(algorithm, state, [
            report_of(np.full(20, -1.0), 0, 0.25), report_of(np.full(20, 3.0), 1, 0.75),
        ])  # fmt: skip
        np.testing.assert_allclose(after["control"][:17], (10 - 30) / 2, rtol=1e-6)

    def test_the_control_variates_always_sum_to_the_servers(self):
        """With everyone in memory: c is the mean of all c_i (paper, section 4)."""
        simulation, _ = simulate("scaffold")
        own = [simulation.store[c]["control"] for c in simulation.store.clients()]
        np.testing.assert_allclose(np.sum(own, axis=0) / 12, simulation.state["control"], atol=1e-5)


class TestLGFedAvg:
    @pytest.mark.parametrize(("side", "kept"), [("first", [1, 0]), ("last", [0, 1])])
    def test_some_layers_travel_and_the_others_stay(self, side, kept):
        algorithm = made("lg-fedavg", shared=1, side=side)
        state = algorithm.start(WEIGHTS)
        assert algorithm.plan(state, 0, 0).up.keep.tolist() == kept
        trained = WEIGHTS + 1
        after = one_round(algorithm, state, [report_of(trained, 0, 1.0)])["weights"]
        travels = algorithm.plan(state, 0, 0).up.mask() == 1
        assert np.array_equal(after, np.where(travels, trained, WEIGHTS))
        start = algorithm.plan({"weights": WEIGHTS * 3}, 1, 0).start
        assert np.array_equal(start, np.where(travels, WEIGHTS * 3, trained))

    def test_a_warm_up_shares_everything(self):
        algorithm = made("lg-fedavg", shared=1, warmup=3)
        plans = [algorithm.plan({"weights": WEIGHTS}, round, 0) for round in (2, 3)]
        assert [plan.up.whole for plan in plans] == [True, False]


class TestStaticMask:
    def test_snip_keeps_the_largest_products_of_weight_and_gradient(self):
        algorithm = made("static-mask", sparsity=0.5)
        state = algorithm.start(WEIGHTS)
        plan = algorithm.plan(state, 0, 0)
        assert plan.steps == 0 and plan.statistics == ("gradient",) and plan.up.size == 0
        one, two = np.linspace(0, 1, 20), np.linspace(1, 0, 20)
        after = one_round(algorithm, state, [
            report_of(WEIGHTS, 0, 0.25, gradient=one), report_of(WEIGHTS, 1, 0.75, gradient=two),
        ])  # fmt: skip
        score = np.abs(WEIGHTS) * (0.25 * one + 0.75 * two)
        assert (after["mask"][PRUNABLE] == 0).sum() == 6
        kept = PRUNABLE & (after["mask"] == 1)
        assert score[kept].min() > score[after["mask"] == 0].max()
        assert np.array_equal(after["weights"], WEIGHTS * after["mask"])

    @pytest.mark.parametrize("mask", ["erk", "random", "magnitude"])
    def test_other_masks_are_there_from_the_start_and_stay(self, mask):
        simulation, rows = simulate("static-mask", mask=mask, sparsity=0.7)
        start = simulation.algorithm.start(simulation.experiment.weights)["mask"]
        assert np.array_equal(simulation.state["mask"], start)
        assert not weights_of(simulation)[start == 0].any()
        assert rows[0].columns["bytes_up"] == rows[-1].columns["bytes_up"]
        inside = coordinates(simulation.experiment.layout, simulation.algorithm.tensors)
        assert (start == 0).sum() == pytest.approx(0.7 * inside.sum(), abs=3)

    def test_the_measuring_round_is_paid_for(self):
        simulation, rows = simulate("static-mask", sparsity=0.9)
        first, second = (row.columns for row in rows[:2])
        assert first["bytes_up"] > 2 * second["bytes_up"] and 0 < first["flops"] < second["flops"] * 3
        assert simulation.algorithm.density(simulation.state) < 0.35


class TestPruneFL:
    def test_weights_are_taken_while_they_are_worth_their_time(self):
        """Equal times: the j-th is taken if its square is above sum / (constant / t + number)."""
        algorithm = made("prunefl", every=2, free=1.0, constant=4.0, exchange=1.0, compute=0.0)
        squares = np.zeros(20, np.float32)
        squares[[0, 1, 2, 3]] = [10, 8, 1, 0.5]
        mask = algorithm.adapted(WEIGHTS, np.ones(20, np.uint8), squares, 0)
        # 10 > 0/4; 8 > 10/5; 1 is not above 18/6
        assert np.flatnonzero(mask[PRUNABLE]).tolist() == [0, 1]
        assert mask[~PRUNABLE].all()

    def test_only_a_share_of_the_smallest_may_go(self):
        algorithm, weights = made("prunefl", every=2, free=0.25), WEIGHTS + np.float32(0.01)
        squares = np.where(PRUNABLE, 0, 1).astype(np.float32)
        mask = algorithm.adapted(weights, np.ones(20, np.uint8), squares, 0)
        gone = np.flatnonzero(mask == 0)
        smallest = np.flatnonzero(PRUNABLE)[np.argsort(np.abs(weights[PRUNABLE]))[:3]]
        assert sorted(gone.tolist()) == sorted(smallest.tolist())

    def test_a_weight_that_costs_more_time_must_gain_more(self):
        """Weights of layer b take four times as long here; a square of 3 is not worth that."""
        layers = (TINY.layers[0], replace(TINY.layers[1], macs=24))
        kept = {}
        for variant in ("paper", "released"):
            keys = {"free": 1.0, "constant": 1.0, "exchange": 1e-9, "compute": 1.0}
            algorithm = made("prunefl", replace(TINY, layers=layers), variant=variant, **keys)
            np.testing.assert_allclose(algorithm._seconds()[[0, 8]], [1, 4])
            squares = np.zeros(20, np.float32)
            squares[[0, 8]] = [2, 3]
            mask = algorithm.adapted(WEIGHTS, np.ones(20, np.uint8), squares, 0)
            kept[variant] = np.flatnonzero(mask[PRUNABLE]).tolist()
        # 2/1 > 0/1, then 3/4 against 2/2; ranked by squares 3/4 > 0/1, then 2/1 > 3/5
        assert kept == {"paper": [0], "released": [0, 6]}

    def test_squares_travel_in_the_rounds_that_need_them(self):
        _, rows = simulate("prunefl", every=2, free=0.5)
        up = [row.columns["bytes_up"] for row in rows]
        assert up[0] == up[1] and up[2] > 1.9 * up[1] and up[3] < up[0]


class TestFedDST:
    def test_every_layer_keeps_its_size(self):
        simulation, _ = simulate("feddst", every=1, alpha=0.5)
        algorithm, layout = simulation.algorithm, simulation.experiment.layout
        start = algorithm.start(simulation.experiment.weights)["mask"]
        mask, moved = simulation.state["mask"], 0
        for t in algorithm.tensors:
            block = slice(layout.tensors[t].start, layout.tensors[t].start + layout.tensors[t].size)
            assert mask[block].sum() == start[block].sum()
            moved += (mask[block] != start[block]).sum()
        assert moved > 0 and not weights_of(simulation)[mask == 0].any()

    def test_votes_decide_and_the_mean_is_over_those_who_hold_a_weight(self):
        algorithm = made("feddst", sparsity=0.5, every=1)
        mask = np.ones(20, np.uint8)
        mask[[0, 1, 2, 8, 9, 10]] = 0
        state = {"weights": WEIGHTS * mask, "mask": mask}
        other = mask.copy()
        other[[0, 3]] = [1, 0]  # one client grew weight 0 and dropped weight 3
        values = np.ones(20)
        values[0] = 9
        after = one_round(algorithm, state, [
            report_of(values * mask, 0, 0.5, mask=mask), report_of(values * other, 1, 0.5, mask=other),
        ], round=1)  # fmt: skip
        assert after["weights"][0] == 9 and after["mask"][0] == 1  # not halved by the absent vote
        assert after["mask"][:6].sum() == 3 and after["mask"][5] == 0  # last of the equal ones

    def test_alpha_is_annealed_and_twice_in_the_released_code(self):
        assert made("feddst", alpha=0.4).share(0) == pytest.approx(0.4)
        assert made("feddst", alpha=0.4).share(50) == pytest.approx(0.2)
        assert made("feddst", alpha=0.4, variant="released").share(50) == pytest.approx(0.08)


class TestLotteryFL:
    def test_a_good_ticket_is_pruned_and_rewound(self):
        algorithm = made("lotteryfl", accuracy=0.5, rate=0.5, target=0.3)
        algorithm.attach({0: {}}, lambda client, weights: 0.9)
        state = {"weights": WEIGHTS, "first": WEIGHTS * 7}
        plan = algorithm.plan(state, 0, 0)
        assert [(plan.mask[b] == 0).sum() for b in (slice(0, 6), slice(8, 14))] == [3, 3]
        assert np.array_equal(plan.start, WEIGHTS * 7 * plan.mask)
        gone = np.abs(WEIGHTS[:6])[plan.mask[:6] == 0]
        assert gone.max() < np.abs(WEIGHTS[:6])[plan.mask[:6] == 1].min()
        assert plan.up.mask().tolist() == plan.mask.tolist()
        memory = algorithm.remember(state, plan, None, {})
        algorithm.attach({0: memory}, lambda client, weights: 0.1)
        again = algorithm.plan(state, 1, 0)
        assert np.array_equal(again.mask, plan.mask)
        assert np.array_equal(again.start, WEIGHTS * plan.mask)

    def test_pruning_ends_at_the_target(self):
        simulation, _ = simulate("lotteryfl", ("run.rounds=8",), accuracy=0.0, rate=0.5, target=0.4)
        algorithm, store = simulation.algorithm, simulation.store
        inside = algorithm._inside
        left = [
            np.unpackbits(store[c]["mask"], count=len(inside))[inside].mean() for c in store.clients()
        ]
        assert 0.2 < min(left) < 0.4 and max(left) < 1


class TestHeteroFL:
    def test_widths_are_nested_and_cost_what_they_hold(self):
        algorithm = experiment("heterofl", widths=[1.0, 0.5, 0.25]).algorithm
        held = [support.mask() for support, _ in algorithm._parts]
        assert (held[0] >= held[1]).all() and (held[1] >= held[2]).all()
        # conv 4x1x9, conv 6x4x9, linear 8x6, linear 10x8; biases, normalisation of the first
        assert held[1].sum() == 2 * 9 + 5 * 2 + 3 * 2 * 9 + 3 + 4 * 3 + 4 + 10 * 4 + 10
        work = []
        made = experiment("heterofl", widths=[1.0, 0.5, 0.25])
        for client in range(12):
            plan = made.algorithm.plan({"weights": made.weights}, 0, client)
            report = made.trainer.train(made.weights, plan, client, 0, 1.0)
            work.append((made.algorithm.width_of(client), made.flops(plan, report) / report.seen))
        by_width = [dict(work)[w] for w in range(3)]
        assert by_width[0] > 2 * by_width[1] > 2 * by_width[2]

    def test_bad_widths_are_refused(self):
        with pytest.raises(ConfigError, match="widths"):
            experiment("heterofl", widths=[1.5])


class TestTopK:
    def test_what_is_not_sent_is_sent_later(self):
        algorithm = made("topk", share=1 / 17)
        state = algorithm.start(np.zeros(20, np.float32))
        change = np.zeros(20)
        change[[3, 5]] = [2, 3]
        after = one_round(algorithm, state, [report_of(change, 0, 1.0)])
        assert np.flatnonzero(after["weights"]).tolist() == [5]
        again = one_round(algorithm, after, [report_of(after["weights"], 0, 1.0)])
        assert again["weights"][[3, 5]].tolist() == [2, 3]
        assert not algorithm.memory(0)["residual"].any()

    def test_without_feedback_it_is_lost(self):
        algorithm = made("topk", share=1 / 17, feedback=False)
        state = algorithm.start(np.zeros(20, np.float32))
        change = np.arange(20.0)
        after = one_round(algorithm, state, [report_of(change, 0, 1.0)])
        assert np.flatnonzero(after["weights"]).tolist() == [16, 17, 18, 19]  # 17 on: statistics
        assert algorithm.memory(0) == {}

    def test_messages_have_the_promised_size(self):
        _, rows = simulate("topk", share=0.05)
        assert rows[-1].columns["density_up"] < 0.07


def test_the_proximal_term_holds_clients_back():
    far, near = (
        np.linalg.norm(weights_of(s) - s.experiment.weights)
        for s, _ in (simulate("fedprox", mu=mu) for mu in (0.0, 10.0))
    )
    assert near < far
