"""FedDIP against its schedules, its exact masks, and its three ways of growing back."""

from itertools import pairwise

import numpy as np
import pytest

from fedmpi.algorithms.feddip import FedDIP
from fedmpi.comm.base import Serial
from fedmpi.exchange import Job, Report
from fedmpi.experiment.stop import NoSignals
from fedmpi.rng import rng_for
from fedmpi.round.loop import Simulation
from fedmpi.setting import Setting
from fedmpi.sparsity import coordinates, prunable
from tests.algorithms.by_hand import arrival_of
from tests.algorithms.problem import experiment, same_bits, simulate, trained, weights_of
from tests.models import TINY, WEIGHTS


def feddip(memory=None, rounds=1000, layout=TINY, **keys):
    setting = Setting(
        layout=layout, seed=1, rounds=rounds, clients=4, exact=True, speed=np.ones(4),
        memory=lambda client: memory or {},
    )  # fmt: skip
    return FedDIP(FedDIP.Keys(**keys), setting)


def masks_of(rounds=6, **keys):
    """Return the mask after each round, and the layout."""
    settings = (f"run.rounds={rounds}", "clients.local_steps=12", "optimizer.lr=0.2")
    made = experiment("feddip", settings, **keys)
    simulation, masks = Simulation(made, Serial(), NoSignals()), []
    for _ in range(rounds):
        simulation.round()
        masks.append(simulation.state["mask"])
        outside = masks[-1] == 0
        assert not simulation.state["weights"][outside].any()
    return masks, made


@pytest.mark.parametrize("regrow", ["dense_average", "released", "feedback"])
def test_masks_have_the_exact_size_and_stay_between_reconfigurations(regrow):
    masks, made = masks_of(regrow=regrow, every=2, start=0.3, end=0.9)
    inside = coordinates(made.layout, prunable(made.layout))
    for number, mask in enumerate(masks):
        share = made.algorithm.sparsity(number - number % 2)
        assert (mask == 0).sum() == round(float(share * inside.sum()))
        assert not (mask == 0)[~inside].any()
    assert np.array_equal(masks[0], masks[1]) and not np.array_equal(masks[1], masks[2])


def test_released_masks_are_nested_and_the_papers_come_back():
    released, _ = masks_of(regrow="released", every=1, start=0.5, end=0.6)
    papers, _ = masks_of(regrow="dense_average", every=1, start=0.5, end=0.6)
    back = [
        [int(((old == 0) & (new == 1)).sum()) for old, new in pairwise(m)]
        for m in (released, papers)
    ]
    assert sum(back[0]) == 0 and sum(back[1]) > 5


def test_the_penalty_climbs_in_steps():
    paper, released = feddip(), feddip(variant="released")
    assert [paper.penalty(t) for t in (0, 49, 50, 100, 999)] == pytest.approx(
        [0, 0, 5e-5, 1e-4, 9.5e-4]
    )
    found = [released.penalty(50 * i) for i in range(20)]
    assert found[0] == 0
    expected = [5e-4 + (i - 1) * 5e-4 / 19 for i in range(1, 20)]
    np.testing.assert_allclose(found[1:], expected)
    assert found[1:3] == pytest.approx([5.00e-4, 5.26e-4], abs=5e-7)
    assert found[-1] == pytest.approx(9.74e-4, abs=5e-7)


def test_the_first_masks_differ_between_clients_and_have_the_erk_density():
    algorithm = feddip(start=0.5)
    one, two = (algorithm.plan(algorithm.start(WEIGHTS), 0, client).mask for client in (0, 1))
    assert not np.array_equal(one, two)
    assert (one == 0).sum() == (two == 0).sum() == 6


def test_three_numbers_by_hand():
    """A step is the dense mean, pruned: half of the twelve weights of least magnitude go."""
    algorithm = feddip(start=0.5, end=0.5)
    state = algorithm.start(WEIGHTS)
    sums = algorithm.zero()
    for scale, share in ((1.0, 0.25), (3.0, 0.75)):
        up = algorithm.plan(state, 0, 0).up
        algorithm.add(sums, arrival_of(WEIGHTS * np.float32(scale), up, share))
    after = algorithm.step(state, sums, 0)
    mean = WEIGHTS * 2.5
    assert (after["mask"] == 0).sum() == 6
    np.testing.assert_allclose(after["weights"], mean * after["mask"], rtol=1e-6)
    inside = coordinates(TINY, (0, 2))
    kept = np.abs(mean)[inside & (after["mask"] == 1)]
    assert kept.min() >= np.abs(mean)[after["mask"] == 0].max()
    assert algorithm.density(after) == 14 / 20


def test_the_gradient_is_that_of_the_pruned_point_for_all_coordinates():
    made = experiment("feddip", ("optimizer.momentum=0.0", "clients.local_steps=1"), start=0.8)
    state = made.algorithm.start(made.weights)
    job, report = trained(made, state, 0, 3)
    plan = job.plan
    pruned = made.weights * plan.mask
    index = made.engine.data.partition.of(3)
    x, y = made.engine.data.samples.take(index)
    batch = rng_for(made.engine.data.seed, "batches", 0, 3).permutation(len(index))[:8]
    grad = np.zeros_like(pruned)
    made.engine.gradients.gradient(pruned.copy(), x[batch], y[batch], grad)
    moved = made.layout.trained
    step = np.float32(0.05) * (grad + np.float32(1e-3) * made.weights)
    np.testing.assert_allclose(report.weights[moved], (made.weights - step)[moved], atol=2e-7)
    assert (report.weights != made.weights)[(plan.mask == 0)].mean() > 0.9


def test_feedback_starts_from_what_was_learned_outside_the_mask():
    memory = {}
    algorithm = feddip(memory, regrow="feedback", start=0.5, end=0.5)
    state = algorithm.start(WEIGHTS)
    state = algorithm.step(state, algorithm.zero(), 0)
    outside = state["mask"] == 0
    plan = algorithm.plan(state, 1, 2)
    report = Report(2, 1, 1, 1, 0.0, WEIGHTS + 5)
    memory |= algorithm.remember(Job(2, 1, state, plan, 1.0), report, {}, None)
    start = algorithm.plan(state, 2, 2).start
    assert np.array_equal(start[outside], (WEIGHTS + 5)[outside])
    assert np.array_equal(start[~outside], state["weights"][~outside])


def test_without_penalty_it_is_feddp_and_the_penalty_makes_weights_small():
    keys = {"every": 100, "start": 0.0, "end": 0.0}
    many = ("run.rounds=8",)
    free, pulled = (
        np.abs(weights_of(simulate("feddip", many, penalty=p, **keys)[0])) for p in (0.0, 0.5)
    )
    assert (pulled < 1e-2).mean() > (free < 1e-2).mean()


def test_bytes_down_shrink_and_up_stay():
    _, rows = simulate("feddip", every=1, start=0.9, end=0.9)
    down = [row.columns["bytes_down"] for row in rows]
    up = [row.columns["bytes_up"] for row in rows]
    assert down[1] < 0.5 * down[0] and len(set(up)) == 1


def test_pruned_uploads_hold_the_mask_and_nothing_comes_back():
    """With both directions sparse the paper's 80 % of savings are in reach, at a cost in masks."""
    keys = {"every": 2, "start": 0.5, "end": 0.9}
    _, dense = simulate("feddip", ("run.rounds=6",), **keys)
    _, pruned = simulate("feddip", ("run.rounds=6",), upload="pruned", **keys)
    up, values = ([row.columns[c] for row in pruned] for c in ("bytes_up", "bytes_up_values"))
    assert up[0] < 0.7 * dense[0].columns["bytes_up"]  # of the client's own first mask
    held = [row.columns["model_density"] for row in pruned]
    layout = experiment("feddip").layout
    for number in range(1, 6):
        assert values[number] == 5 * 4 * round(held[number - 1] * layout.size)
        # The server sent the mask, so clients send its hash of 16 bytes.
        assert pruned[number].columns["bytes_up_support"] == 5 * 16
        assert pruned[number].columns["bytes_down"] > up[number]
    masks, _ = masks_of(upload="pruned", every=1, start=0.5, end=0.6)
    # Round 0 has masks of the clients' own; from then on a support lies in the support before it.
    assert not any(((old == 0) & (new == 1)).any() for old, new in pairwise(masks))


def test_dpf_is_one_client_that_takes_one_step_at_a_time():
    """Without aggregation, DPF's dense weights are those of FedDIP after its first round."""
    one = ("clients.number=1", "clients.per_round=1", "clients.local_steps=1", "run.rounds=1",
           "data.alpha=1e6")  # fmt: skip
    one = (*one, "model.name=tests.algorithms.problem:convs")
    dip, _ = simulate("feddip", one, start=0.0, end=0.0, penalty=0.0)
    dpf, _ = simulate("dpf", one, start=0.0, end=0.0)
    assert same_bits(weights_of(dip), weights_of(dpf))
    again, _ = simulate("dpf", (*one, "run.rounds=5"), start=0.7, end=0.7)
    dense, mask = again.state["dense"], again.state["mask"]
    assert np.array_equal(again.state["weights"], dense * mask)
    assert (dense[mask == 0] != 0).mean() > 0.9
