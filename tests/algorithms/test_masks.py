"""Methods that prune by masks against their papers' formulas, by hand and in the round loop."""

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from fedmpi.errors import ConfigError
from fedmpi.exchange import Job
from fedmpi.learn.layout_of import layout_of
from fedmpi.sparsity import coordinates
from tests.algorithms.by_hand import PRUNABLE, made, one_round, report_of
from tests.algorithms.problem import experiment, simulate, weights_of
from tests.models import TINY, WEIGHTS


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
        assert first["bytes_up"] > 2 * second["bytes_up"]
        assert 0 < first["flops"] < second["flops"] * 3
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

    def test_biases_count_in_what_the_rest_gains(self):
        """8 is above 10 / 5, and not above (10 + 48) / 5; the re-implementation has no biases."""
        squares, taken = np.zeros(20, np.float32), {}
        squares[[0, 1]], squares[~PRUNABLE] = [10, 8], 48 / (~PRUNABLE).sum()
        for variant in ("paper", "authors", "released"):
            keys = {"free": 1.0, "constant": 4.0, "exchange": 1.0, "compute": 0.0}
            algorithm = made("prunefl", variant=variant, **keys)
            mask = algorithm.adapted(WEIGHTS, np.ones(20, np.uint8), squares, 0)
            taken[variant] = np.flatnonzero(mask[PRUNABLE]).tolist()
        assert taken == {"paper": [], "authors": [], "released": [0, 1]}

    def test_the_authors_free_a_share_of_each_layer(self):
        """The smallest weights are all in layer b; in their code layer a loses a half too."""
        weights = np.where(coordinates(TINY, (2,)), 0.01, 1).astype(np.float32)
        weights *= np.arange(1, 21, dtype=np.float32)
        squares, gone = np.where(PRUNABLE, 0, 1).astype(np.float32), {}
        for variant in ("paper", "authors"):
            algorithm = made("prunefl", variant=variant, free=0.5)
            mask = algorithm.adapted(weights, np.ones(20, np.uint8), squares, 0)
            gone[variant] = [int((mask[TINY.tensors[t].block] == 0).sum()) for t in (0, 2)]
        assert gone == {"paper": [0, 6], "authors": [3, 3]}

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


def all_drop_one(algorithm):
    """Check that a weight of 5 which both clients drop goes, and theirs comes; return the state."""
    mask = np.ones(20, np.uint8)
    mask[[0, 1, 2, 8, 9, 10]] = 0
    state = {"weights": np.where(mask, np.float32(5), 0), "mask": mask, "warm": np.array(1)}
    other = mask.copy()
    other[[0, 3]] = [1, 0]
    reports = [report_of(np.ones(20) * other, client, 0.5, mask=other) for client in (0, 1)]
    after = one_round(algorithm, state, reports, round=1)
    assert np.array_equal(after["mask"], other) and after["weights"][3] == 0
    return state


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
            report_of(values * mask, 0, 0.5, mask=mask),
            report_of(values * other, 1, 0.5, mask=other),
        ], round=1)  # fmt: skip
        assert after["weights"][0] == 9 and after["mask"][0] == 1  # not halved by the absent vote
        assert after["mask"][:6].sum() == 3 and after["mask"][5] == 0  # last of the equal ones

    def test_a_weight_that_every_client_dropped_is_gone_however_large_it_was(self):
        algorithm = made("feddst", sparsity=0.5, every=1)
        state = all_drop_one(algorithm)
        assert one_round(algorithm, state, [], round=1)["mask"] is state["mask"]  # no votes

    def test_alpha_is_annealed_and_twice_in_the_released_code(self):
        assert made("feddst", alpha=0.4).share(0) == pytest.approx(0.4)
        assert made("feddst", alpha=0.4).share(50) == pytest.approx(0.2)
        assert made("feddst", alpha=0.4, variant="released").share(50) == pytest.approx(0.08)

    def test_masks_stay_after_a_share_of_the_rounds(self):
        """100 rounds, of which 50 count: alpha is halved in the 25th, and 0 in the 50th."""
        algorithm = made("feddst", alpha=0.4, every=5, until=0.5)
        state = algorithm.start(WEIGHTS)
        moved = [r for r in range(100) if algorithm.plan(state, r, 0).readjust]
        assert moved == list(range(5, 50, 5))
        assert algorithm.plan(state, 25, 0).readjust == ((1, pytest.approx(0.2)),)


class TestLotteryFL:
    def test_a_good_ticket_is_pruned_and_rewound(self):
        memory, good = {}, 0.9
        algorithm = made(
            "lotteryfl", accuracy=0.5, rate=0.5, target=0.3,
            setting={"memory": lambda client: memory, "accuracy": lambda client, weights: good},
        )  # fmt: skip
        state = {"weights": WEIGHTS, "first": WEIGHTS * 7}
        plan = algorithm.plan(state, 0, 0)
        assert [(plan.mask[b] == 0).sum() for b in (slice(0, 6), slice(8, 14))] == [3, 3]
        assert np.array_equal(plan.start, WEIGHTS * 7 * plan.mask)
        gone = np.abs(WEIGHTS[:6])[plan.mask[:6] == 0]
        assert gone.max() < np.abs(WEIGHTS[:6])[plan.mask[:6] == 1].min()
        assert plan.up.mask().tolist() == plan.mask.tolist()
        assert plan.down.mask().all()  # the client tests and ranks what it receives
        memory, good = algorithm.remember(Job(0, 0, state, plan, 1.0), None, {}, None), 0.1
        again = algorithm.plan(state, 1, 0)
        assert np.array_equal(again.mask, plan.mask)
        assert np.array_equal(again.start, WEIGHTS * plan.mask)
        assert again.down == again.up == plan.up

    def test_pruning_ends_at_the_target(self):
        simulation, _ = simulate("lotteryfl", ("run.rounds=8",), accuracy=0.0, rate=0.5, target=0.4)
        inside, store = simulation.algorithm._inside, simulation.memories
        masks = [np.unpackbits(store[c]["mask"], count=len(inside)) for c in store.clients()]
        left = [mask[inside].mean() for mask in masks]
        assert 0.2 < min(left) < 0.4 and max(left) < 1


class TestFLASH:
    def test_the_warm_up_sends_bits_and_masks_keep_their_size_as_they_move(self):
        sparsity = 0.75
        run, rows = simulate("flash", sparsity=sparsity, warmup=3)
        inside = coordinates(run.experiment.layout, run.algorithm.tensors)
        assert run.state["mask"][inside].mean() == pytest.approx(1 - sparsity, abs=0.01)
        assert not weights_of(run)[run.state["mask"] == 0].any()
        assert rows[0].columns["bytes_up"] < 0.4 * rows[1].columns["bytes_up"]

    @pytest.mark.parametrize("mean", ["all", "holders"])
    def test_a_weight_that_every_client_dropped_is_gone_however_large_it_was(self, mean):
        algorithm = made("flash", sparsity=0.5, mean=mean)
        all_drop_one(algorithm)


class TestFedPM:
    def test_a_client_sends_a_bit_for_each_weight_and_fixed_weights_stay(self):
        run, rows = simulate("fedpm", ("model.name=lenet5",), spread=2.0)
        state, layout = run.state, run.experiment.layout
        for row in rows:
            each = row.columns["bytes_up"] / row.columns["clients_completed"]
            assert layout.size / 8 <= each < layout.size / 8 + 200
        assert np.array_equal(state["weights"], state["fixed"] * state["mask"])
        first = layout.tensors[0]
        sizes = np.abs(state["fixed"][first.start : first.start + first.size])
        np.testing.assert_allclose(sizes, 2 / np.sqrt(first.size // first.rows), rtol=1e-6)
        assert 0.01 <= state["theta"].min() < 0.1 < 0.9 < state["theta"].max() <= 0.99

    def test_a_model_that_is_a_single_layer_is_masked(self):
        """The layer is the model itself, so its tensors have no prefix."""
        layout = layout_of(nn.Linear(5, 3), np.zeros((1, 5), np.float32))
        assert made("fedpm", layout).masked.all()


class TestFedTiny:
    @pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.9])
    def test_all_candidates_are_as_sparse_as_the_key_says(self, sparsity):
        """Also where the noise would make a layer more than whole."""
        made = experiment("fedtiny", ("run.rounds=6",), sparsity=sparsity, candidates=5, noise=0.9)
        masks = made.algorithm.start(made.weights)["masks"]
        inside = coordinates(made.layout, made.algorithm.tensors)
        for mask in masks:
            assert (mask[inside] == 0).mean() == pytest.approx(sparsity, abs=0.005)
        assert len({mask.tobytes() for mask in masks}) == (5 if sparsity else 1)

    def test_a_choice_needs_reports_of_one_round(self):
        mixed = ("schedule.mode=async", "schedule.buffer_size=2")
        with pytest.raises(ConfigError, match="algorithm fedtiny: cannot mix clients"):
            experiment("fedtiny", mixed, candidates=2)
        experiment("fedtiny", mixed, candidates=1)

    def test_a_run_that_is_too_short_to_choose_is_refused(self):
        """It ended with the first weights, whole; with running statistics 3 candidates take 4."""
        with pytest.raises(ConfigError, match=r"takes 4 rounds, and run\.rounds = 3, .*; raise"):
            experiment("fedtiny", ("run.rounds=3",), candidates=3)
        simulation, _ = simulate("fedtiny", candidates=3, sparsity=0.5)
        assert simulation.algorithm.density(simulation.state) < 1


def test_masks_of_sub_fedavg_differ_by_a_mean_over_the_layers():
    """As in the published code: a quarter of the first of four layers, none of the others."""
    algorithm = experiment("sub-fedavg").algorithm
    one = np.ones(algorithm.layout.size, np.uint8)
    other = one.copy()
    other[algorithm.layout.tensors[algorithm.tensors[0]].block][:9] = 0  # of 36 weights
    assert len(algorithm.tensors) == 4
    assert algorithm.distance_of(one, other) == algorithm.distance_of(other, one) == 0.0625


def test_synflow_keeps_as_many_weights_in_each_step_as_its_published_code():
    """Their code removes int((1 - share) n) of n weights, so the kept weights are rounded up."""
    algorithm = experiment("static-mask", mask="synflow", sparsity=0.75).algorithm
    inside, left = coordinates(algorithm.layout, algorithm.tensors), []
    flow = algorithm.setting.flow

    def counted(weights):
        left.append(int((weights[inside] != 0).sum()))
        return flow(weights)

    algorithm.setting = replace(algorithm.setting, flow=counted)
    weights = np.linspace(0.1, 1, algorithm.layout.size, dtype=np.float32)
    mask = algorithm.start(weights)["mask"]
    shares = [0.25 ** (step / 100) for step in range(100)]
    assert left == [380 - int((1 - share) * 380) for share in shares]
    assert mask[inside].sum() == 95
