"""Baselines without masks against their papers' formulas, by hand and in the round loop."""

import numpy as np
import pytest
import torch
from torch import nn

from fedmpi.errors import ConfigError
from fedmpi.learn.layout_of import layout_of
from tests.algorithms.by_hand import made, one_round, report_of
from tests.algorithms.problem import experiment, simulate, trained, weights_of
from tests.models import TINY, WEIGHTS


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

    @pytest.mark.parametrize("distance", [1e-6, 1e-9, 1e-15])
    def test_with_a_momentum_near_one_the_length_is_the_sum_of_whole_numbers(self, distance):
        """The closed form divides by the square of the distance: it gave 10.0 for 1e-9."""
        algorithm = made("fednova", momentum=1 - distance)
        assert algorithm.length(10) == pytest.approx(55, rel=1e-5)
        assert algorithm.length(1) == 1


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

    @pytest.mark.parametrize("lr", [0.0, 1e-45, 1e-38])
    def test_a_rate_at_which_no_weight_moves_leaves_the_control_variates(self, lr):
        """1 / (steps lr) was infinite, and c NaN, after many rounds of a falling rate."""
        algorithm = made("scaffold")
        state = algorithm.start(WEIGHTS)
        state["control"] = np.full(20, 0.5, np.float32) * TINY.trained
        after = one_round(algorithm, state, [report_of(WEIGHTS, 0, 1.0, lr=lr)])
        assert np.array_equal(after["control"], state["control"])
        assert not algorithm.memory(0)["control"].any()

    def test_the_control_variates_always_sum_to_the_servers(self):
        """With everyone in memory: c is the mean of all c_i (paper, section 4)."""
        simulation, _ = simulate("scaffold")
        own = [simulation.memories[c]["control"] for c in simulation.memories.clients()]
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


class TestHeteroFL:
    def test_widths_are_nested_and_cost_what_they_hold(self):
        algorithm = experiment("heterofl", widths=[1.0, 0.5, 0.25]).algorithm
        held = [support.mask() for support, _ in algorithm._submodels]
        assert (held[0] >= held[1]).all() and (held[1] >= held[2]).all()
        # conv 4x1x9, conv 6x4x9, linear 8x6, linear 10x8; biases, normalisation of the first
        assert held[1].sum() == 2 * 9 + 5 * 2 + 3 * 2 * 9 + 3 + 4 * 3 + 4 + 10 * 4 + 10
        work = []
        made = experiment("heterofl", widths=[1.0, 0.5, 0.25])
        for client in range(12):
            job, report = trained(made, {"weights": made.weights}, 0, client)
            flops = made.flops(job.plan, report)
            work.append((made.algorithm.width_of(client), flops / report.seen))
        by_width = [dict(work)[w] for w in range(3)]
        assert by_width[0] > 2 * by_width[1] > 2 * by_width[2]

    @pytest.mark.parametrize("name", ["heterofl", "federated-dropout"])
    @pytest.mark.parametrize("widths", [[1.5], [0.0], []])
    def test_bad_widths_are_refused(self, name, widths):
        with pytest.raises(ConfigError, match="widths"):
            experiment(name, widths=widths)

    def test_a_width_gives_no_row_too_many(self):
        """0.55 * 100 and (1 - 0.7) * 10 are a little more than 55 and 3 in floating point."""
        model = "model.name=mlp", "model.hidden=[100, 10]"
        plan = experiment("heterofl", model, widths=[0.55]).algorithm.plan({}, 0, 0)
        assert [sum(rows) for rows in plan.submodel.rows] == [55, 6, 10]
        made = experiment("fedmp", model, ratios=[0.7])
        plan = made.algorithm.plan(made.algorithm.start(made.weights), 0, 0)
        assert [sum(rows) for rows in plan.submodel.rows] == [30, 3, 10]


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


class Placed(nn.Linear):
    """A linear layer with a constant in a buffer."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.register_buffer("places", torch.arange(float(inputs)))

    def forward(self, x):
        return super().forward(x + self.places)


class TestFedBN:
    @pytest.mark.parametrize("private", ["all", "statistics"])
    def test_weights_beside_a_buffer_are_no_normalisation(self, private):
        layout = layout_of(Placed(5, 3), np.zeros((1, 5), np.float32))
        plan = made("fedbn", layout, private=private).plan({}, 0, 0)
        shared = [name for name, keep in zip(layout.names, plan.up.keep) if keep]
        assert shared == ["weight", "bias"] and layout.names == (*shared, "places")

    @pytest.mark.parametrize(("private", "left"), [("all", 16), ("statistics", 8)])
    def test_normalisation_stays_with_its_client(self, private, left):
        made = experiment("fedbn", private=private)
        plan = made.algorithm.plan({"weights": made.weights}, 0, 3)
        outside = plan.up.mask() == 0
        names = {t.name for t in made.layout.tensors if outside[t.start]}
        assert plan.up == plan.down and outside.sum() == left
        assert names >= {"bn1.running_mean", "bn1.running_var"} and len(names) == left // 4
        job, report = trained(made, {"weights": made.weights}, 0, 3)
        made.memories.prepare(3, made.algorithm.remember(job, report, {}, None))
        made.memories.commit()
        state = {"weights": made.weights * 2}
        start = made.algorithm.plan(state, 1, 3).start
        assert np.array_equal(start[outside], report.weights[outside])
        assert np.array_equal(start[~outside], state["weights"][~outside])
        assert made.algorithm.own(state, 4) is None

    def test_the_global_model_keeps_the_first_normalisation(self):
        simulation, _ = simulate("fedbn")
        made, weights = simulation.experiment, simulation.state["weights"]
        moved = weights != made.weights
        norms = np.zeros(made.layout.size, bool)
        for tensor in made.layout.tensors:
            norms[tensor.start : tensor.start + tensor.size] = tensor.name.startswith("bn1")
        assert not moved[norms].any() and moved[~norms].mean() > 0.9


def test_the_proximal_term_holds_clients_back():
    far, near = (
        np.linalg.norm(weights_of(s) - s.experiment.weights)
        for s, _ in (simulate("fedprox", mu=mu) for mu in (0.0, 10.0))
    )
    assert near < far
