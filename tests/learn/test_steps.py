"""The effect of a plan's mechanisms on three numbers, by hand; then on a real network."""

from types import SimpleNamespace

import numpy as np
import pytest

from fedmpi.exchange import Job
from fedmpi.layout import Layer, Layout, Support, Tensor
from fedmpi.learn.engine import ClientData
from fedmpi.learn.gradients import Gradients
from fedmpi.learn.local import Local
from fedmpi.learn.networks import Network
from fedmpi.learn.one_by_one import TorchEngine
from fedmpi.plan import FULL, Backward, Plan

# Two rows of one weight each in layer "a", one weight in layer "b".
THREE = Layout(
    tensors=(
        Tensor("a.weight", (2, 1), 0, 0, 2, True),
        Tensor("b.weight", (1, 1), 1, 2, 1, True),
    ),
    layers=(Layer("a", "linear", 2, 2), Layer("b", "linear", 1, 1)),
)
START = np.array([3.0, 4.0, 0.5], np.float32)
ALL = Support.all(THREE)


class Bowl(Gradients):
    """The error is |w|^2 / 2 times the label, so the gradient is w itself, times the label."""

    def __init__(self, layout=THREE):
        super().__init__(layout, *np.zeros((2, layout.size), np.float32))
        self.points = []

    def _differentiate(self, x, y, backward, activations, error):
        self.points.append(self.weights.copy())
        self.grad[:] = self.weights * np.float32(y.mean())
        self.weights[~self.layout.trained] += 1  # running statistics
        if activations is not None:
            for sums in activations:
                sums += len(y)
        return float((self.weights**2).sum() / 2)

    def _evaluate(self, x):
        return np.stack([np.zeros(len(x)), np.full(len(x), self.weights.sum())], axis=1)


def engine_of(labels, local=None, layout=THREE):
    """Return (Bowl, engine) of one client with these labels."""
    bowl = Bowl(layout)
    data = SimpleNamespace(take=lambda index: (index, labels[index]))
    partition = SimpleNamespace(of=lambda client: np.arange(len(labels)))
    keys = {"epochs": 1, "steps": None, "batch_size": 2, "optimizer": "sgd", "lr": 0.5}
    keys |= {"lr_decay": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    networks = SimpleNamespace(whole=Network(bowl, bowl.weights.copy()))
    networks.of = lambda part: networks.whole
    data = ClientData(data, partition, Local(**keys | (local or {})), seed=1)
    return bowl, TorchEngine(networks, data)


def train(layout=THREE, start=START, samples=2, local=None, own_start=None, round=0, **plan):
    """Train one client of `samples` samples in batches of 2, lr 0.5; return Bowl and Report."""
    bowl, engine = engine_of(np.ones(samples, np.int64), local, layout)
    whole = Support.all(layout)
    made = Plan(down=whole, up=whole, start=own_start, **plan)
    (report,) = engine.train([Job(0, round, {"weights": start}, made, 1.0)])
    return bowl, report


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_mask_that_also_holds_the_optimiser_is_put_on_once(momentum):
    mask = np.array([1, 0, 1], np.uint8)
    for start in (START, START * mask):
        results = []
        for update in (mask, mask.copy()):
            local = {"momentum": momentum, "epochs": 2}
            engine, report = train(start=start, local=local, samples=4, mask=mask, update=update)
            assert all(point[1] == 0 for point in engine.points)
            results.append(report.weights)
        np.testing.assert_array_equal(*results)
        assert results[0][1] == start[1]


def test_masks_compare_by_value():
    mask, rows = np.ones(3, np.uint8), (np.array([True, False]), None)
    one = Backward(rows, 1, mask, mask)
    assert one == Backward((rows[0].copy(), None), 1, mask.copy(), mask.copy())
    assert hash(one) == hash(Backward(rows, 1, mask.copy(), mask))
    others = (
        Backward(rows, 0, mask, mask), Backward(rows, 1, mask), Backward(rows, 1, None, mask),
        Backward(rows, 1, mask, np.array([1, 0, 1], np.uint8)), Backward(None, 1, mask, mask),
        Backward((None, rows[0]), 1, mask, mask), FULL,
    )  # fmt: skip
    assert len({one, *others}) == 8
    assert Plan(None, None, mask=mask, update=mask.copy()).fixed
    assert not Plan(None, None, mask=mask, update=mask * 0).fixed


def test_a_plain_step():
    _, report = train()
    assert report.weights.tolist() == [1.5, 2.0, 0.25]
    assert (report.steps, report.seen, report.loss) == (1, 2, pytest.approx(12.625))
    assert START.tolist() == [3.0, 4.0, 0.5]


def test_the_learning_rate_decays_and_is_reported():
    _, report = train(local={"lr_decay": 0.5}, round=1)
    assert report.lr == 0.25 and report.weights.tolist() == [2.25, 3.0, 0.375]


def test_a_start_of_its_own_takes_the_place_of_the_received_weights():
    own = np.array([2.0, 0.0, 1.0], np.float32)
    _, report = train(own_start=own)
    assert report.weights.tolist() == [1.0, 0.0, 0.5]


def test_the_gradient_at_the_masked_point_moves_the_dense_weights():
    mask = np.array([1, 0, 1], np.uint8)
    engine, report = train(mask=mask, samples=4)
    assert [p.tolist() for p in engine.points] == [[3.0, 0.0, 0.5], [1.5, 0.0, 0.25]]
    assert report.weights.tolist() == [0.75, 4.0, 0.125]
    decayed = train(mask=mask, local={"weight_decay": 0.5})[1]
    assert decayed.weights.tolist() == [0.75, 3.0, 0.125]  # decay acts on pruned weights too


def test_frozen_weights_do_not_move_even_with_momentum_and_decay():
    update = np.array([1, 0, 1], np.uint8)
    _, report = train(update=update, samples=6, local={"momentum": 0.9, "weight_decay": 0.1})
    assert report.weights[1] == 4.0 and (report.weights[[0, 2]] != START[[0, 2]]).all()


def test_dropped_rows_do_not_move_even_with_momentum_and_decay():
    rows = (np.array([False, True]), None)
    local = {"momentum": 0.9, "weight_decay": 0.1}
    _, report = train(backward=Backward(rows), samples=6, local=local)
    assert report.weights[0] == 3.0 and (report.weights[1:] != START[1:]).all()


def test_a_control_variate_is_added_to_every_gradient():
    _, report = train(control=np.array([1, 0, -1], np.float32))
    assert report.weights.tolist() == [1.0, 2.0, 0.75]


def test_the_penalty_pulls_along_the_weights_by_the_norm_of_each_tensor():
    _, report = train(tensors=(0,), penalty=1.0)
    np.testing.assert_allclose(report.weights, [1.5 - 0.5 * 0.6, 2.0 - 0.5 * 0.8, 0.25])


def test_the_penalty_is_taken_at_the_masked_point():
    mask = np.array([1, 0, 1], np.uint8)
    _, report = train(tensors=(0,), penalty=1.0, mask=mask)
    np.testing.assert_allclose(report.weights, [1.5 - 0.5, 4.0, 0.25])


def test_the_proximal_term_pulls_to_the_start():
    _, report = train(samples=4, proximal=1.0)
    # 3 -> 1.5 -> 1.5 - 0.5 (1.5 + (1.5 - 3))
    assert report.weights[0] == 1.5


def test_small_entries_become_0_after_every_epoch_and_may_come_back():
    _, report = train(tensors=(0,), threshold=0.5, local={"epochs": 3})
    # 3, 4 -> 1.5, 2 -> 0.75, 1 -> 0.375, 0.5: both at most 0.5; the other tensor is left alone
    assert report.weights.tolist() == [0.0, 0.0, 0.0625]


def test_only_the_most_salient_entries_move():
    _, report = train(tensors=(0,), salient=0.5, samples=4, statistics=("moved",))
    # |w g|: 9 and 16, so 4 -> 2; then 9 and 4, so 3 -> 1.5
    assert report.weights.tolist() == [1.5, 2.0, 0.125]
    assert report.statistics["moved"].tolist() == [True, True, True]
    _, once = train(tensors=(0,), salient=0.5, statistics=("moved",))
    assert once.statistics["moved"].tolist() == [False, True, True]


def test_a_mask_is_readjusted_at_the_first_step():
    mask = np.array([1, 0, 1], np.uint8)
    layout = Layout((Tensor("a.weight", (3, 1), 0, 0, 3, True),), (Layer("a", "linear", 3, 3),))
    _, report = train(
        layout, mask=mask, update=mask, tensors=(0,), readjust=((1, 0.5),), samples=4,
        start=np.array([3, 0, 1], np.float32), statistics=("mask",),
    )  # fmt: skip
    assert report.statistics["mask"].tolist() == [1, 1, 0]
    assert report.weights.tolist() == [0.75, 0.0, 0.0]


def test_an_entry_that_is_grown_again_has_no_momentum():
    """That of its steps before it was pruned moved it away from 0."""
    layout = Layout((Tensor("a.weight", (3, 1), 0, 0, 3, True),), (Layer("a", "linear", 3, 3),))
    mask = np.array([1, 0, 1], np.uint8)
    _, report = train(
        layout, mask=mask, update=mask, tensors=(0,), readjust=((2, 0.5), (3, 0.5)), samples=6,
        start=np.array([3, 0, 1], np.float32), statistics=("mask",),
        local={"momentum": 0.5, "lr": 0.25},
    )  # fmt: skip
    assert report.statistics["mask"].tolist() == [1, 0, 1]
    assert report.weights.tolist() == [0.515625, 0.0, 0.0]


def test_statistics_are_summed_over_the_steps():
    wanted = ("activations", "relevance", "squares", "gradient")
    _, report = train(samples=4, statistics=wanted)
    found = report.statistics
    assert [sums.tolist() for sums in found["activations"]] == [[4, 4], [4]]
    # -w dL/dw, times the two samples of a batch, at 3, 4, 0.5 and then at half of it
    np.testing.assert_allclose(found["relevance"][0], [-2 * (9 + 2.25), -2 * (16 + 4)])
    np.testing.assert_allclose(found["squares"], START**2 * 1.25)
    np.testing.assert_allclose(found["gradient"], START / 4)
    assert report.probed == 2


def test_no_steps_measure_only():
    _, report = train(steps=0, statistics=("gradient",))
    assert report.weights.tolist() == START.tolist()
    assert report.statistics["gradient"].tolist() == START.tolist()
    assert (report.steps, report.seen, report.probed) == (0, 0, 2)


def test_running_statistics_pass_a_mask_by():
    layout = Layout(
        (Tensor("a.weight", (1, 1), 0, 0, 1, True), Tensor("a.mean", (1,), 0, 1, 1, False)),
        (Layer("a", "linear", 1, 1),),
    )
    start, mask = np.array([2.0, 10.0], np.float32), np.array([0, 1], np.uint8)
    _, report = train(layout, start, samples=4, mask=mask, statistics=("gradient",))
    assert report.weights.tolist() == [2.0, 12.0]  # two steps; the probe leaves no trace


def test_a_client_knows_how_good_a_model_is_on_its_own_samples():
    _, engine = engine_of(np.array([1, 0, 1, 1]))
    assert engine.accuracy(0, START) == 0.75
    assert engine.accuracy(0, -START) == 0.25
