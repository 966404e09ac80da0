"""Skeletonization: relevance against true removal, and trimming that makes networks small."""

from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from fedmpi.comm.base import Serial
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import resolve
from fedmpi.experiment.stop import NoSignals
from fedmpi.learn.data import load
from fedmpi.learn.losses import LOSSES
from fedmpi.learn.partitions.partition import Partition
from fedmpi.plan import Submodel
from fedmpi.round.loop import Simulation
from tests.algorithms.by_hand import arrival_of
from tests.algorithms.problem import TRAINER, cohort_of, experiment, simulate, trained

ROOT = Path(__file__).parents[2]
TEXT = """
[run]
rounds = 60
[data]
name = "rules"
[clients]
number = 1
local_epochs = 20
batch_size = 16
[model]
name = "mlp"
hidden = [5]
activation = "sigmoid"
[optimizer]
name = "adam"
lr = 0.02
[algorithm]
name = "skeletonization"
criterion = 0.05
units = 2
"""


def central(*overrides):
    """Return the Simulation of a run to its end."""
    made = assemble(resolve(TEXT, "test", [f"run.engine={TRAINER}", *overrides]), Serial(), None)
    simulation = Simulation(made, Serial(), NoSignals())
    for _ in range(made.config.run.rounds):
        simulation.round()
        if simulation.state["phase"] == 2:
            break
    return simulation


@pytest.fixture(scope="module")
def trimmed():
    return central()


def measured(made, weights, error="sigmoid-linear"):
    """Return rho of every unit at `weights`: inputs, then rows of each hidden layer."""
    algorithm = made.algorithm
    state = algorithm.start(weights) | {"phase": np.array(1)}
    plan = replace(algorithm.plan(state, 0, 0), error=error)
    job, report = trained(made, state, 0, 0, plan)
    assert np.array_equal(report.weights, weights) and report.steps == 0
    values, support, *_ = algorithm.message(job, report)["relevance"]
    assert support.size == len(algorithm.units.place)
    return values[algorithm.units.place]


def error_with(made, weights, unit, gate, error):
    """Return the mean error with one unit's gate set: the weights that read it are scaled."""
    changed = weights.copy()
    readers = made.algorithm.units.layer
    tensor = made.layout.tensors[made.layout.layer_tensors[readers[unit]][0]]
    same = np.flatnonzero(readers == readers[unit])
    sources, number = len(same), unit - same[0]
    block = changed[tensor.start : tensor.start + tensor.size]
    block.reshape(tensor.rows, sources, -1)[:, number] *= np.float32(gate)
    x, y = made.engine.data.samples.take(made.engine.data.partition.of(0))
    outputs = torch.from_numpy(made.engine.outputs(changed, x)).double()
    return LOSSES[error](outputs, torch.from_numpy(y)).item()


@pytest.mark.parametrize("error", ["sigmoid-linear", "sigmoid-quadratic", "softmax-linear"])
@pytest.mark.parametrize("inner", ["mlp", "convs"])
def test_relevance_is_the_slope_of_the_error_along_the_gate(inner, error):
    if inner == "mlp":
        made = assemble(resolve(TEXT, "test", ["model.hidden=[4, 3]"]), Serial(), None)
    else:
        # Normalisation is measured with batch statistics but evaluated with running ones.
        settings = ("clients.number=6", "clients.per_round=1", "model.name=lenet5")
        made = experiment("skeletonization", settings)
    rho = measured(made, made.weights, error)
    for unit in range(0, len(rho), 1 if inner == "mlp" else 7):
        up, down = (error_with(made, made.weights, unit, g, error) for g in (1.02, 0.98))
        assert rho[unit] == pytest.approx(-(up - down) / 0.04, rel=0.03, abs=2e-5)


def test_units_that_nothing_reads_have_no_relevance_and_twins_share_theirs():
    made = assemble(resolve(TEXT, "test"), Serial(), None)
    weights = made.weights.copy()
    first, bias, last = (made.layout.slice(n) for n in ("fc1.weight", "fc1.bias", "fc2.weight"))
    weights[last].reshape(2, 5)[:, 0] = 0
    for block in (weights[first].reshape(5, 4), weights[bias].reshape(5, 1)):
        block[2] = block[1]
    weights[last].reshape(2, 5)[:, 2] = weights[last].reshape(2, 5)[:, 1]
    rho = measured(made, weights)[4:]
    assert rho[0] == 0 and rho[1] == pytest.approx(rho[2])
    whole, without = (error_with(made, weights, 4, g, "sigmoid-linear") for g in (1.0, 0.0))
    assert whole == without


def test_the_linear_error_keeps_its_slope_where_the_quadratic_one_vanishes(trimmed):
    """Section 2: the estimate from the quadratic error goes to 0 as the network fits."""
    made = trimmed.experiment
    fitted = central("algorithm.units=5", "algorithm.criterion=1e-4").state["weights"]
    linear, quadratic = (
        np.abs(measured(made, fitted, f"softmax-{e}")).mean() for e in ("linear", "quadratic")
    )
    assert linear > 5 * quadratic


def test_rule_plus_exception_is_trimmed_to_two_units(trimmed):
    state, made = trimmed.state, trimmed.experiment
    assert state["units"][4:].sum() == 2 and state["phase"] == 2
    x, y = made.test.take(np.arange(16))
    assert (made.engine.outputs(state["weights"], x).argmax(1) == y).all()
    assert made.algorithm.density(state) < 0.45


def test_the_network_gets_smaller_and_says_the_same(trimmed):
    state, made = trimmed.state, trimmed.experiment
    rows, mask = made.algorithm.units.network(state["units"])
    small = made.engine.networks.of(Submodel.of_rows(rows))
    assert small.layout.size == mask.sum() == 2 * (4 + 1) + 2 * 2 + 2
    assert [layer.rows for layer in small.layout.layers] == [2, 2]
    x, _ = made.test.take(np.arange(16))
    np.testing.assert_allclose(
        small.backend.outputs(small.enter(state["weights"], None), x),
        made.engine.outputs(state["weights"], x),
        atol=1e-5,
    )


def test_the_flops_of_a_smaller_network_count_its_own_weights():
    """Without an input and two of five hidden units, three rows read three of their four inputs."""
    made = assemble(resolve(TEXT, "test", ["algorithm.inputs=true"]), Serial(), None)
    units = np.array([0, 1, 1, 1, 0, 1, 1, 0, 1], np.uint8)
    plan = made.algorithm.plan(made.algorithm.start(made.weights) | {"units": units}, 0, 0)
    seen = made.costs.samples(plan, 0)
    # Layer 1 has no gradient of its input; of layer 2 all three products are taken.
    by_hand = 2 * seen * (2 * 3 * 3 + 3 * 2 * 3)
    assert made.costs.flops(plan, 0, seen) == pytest.approx(by_hand)


def test_a_network_that_cannot_be_retrained_comes_back_whole():
    """A criterion that two units cannot meet in one round: the last good network returns."""
    simulation = central("algorithm.retrain=1", "algorithm.criterion=2e-3", "algorithm.units=1")
    state = simulation.state
    assert state["phase"] == 2 and state["units"][4:].sum() > 1
    assert np.array_equal(state["weights"], state["good"])
    assert np.array_equal(state["units"], state["good_units"])


def test_clients_relevances_add_up_to_that_of_all_samples():
    made = experiment("skeletonization", ("clients.per_round=12", "model.name=mlp"))
    algorithm = made.algorithm
    state = algorithm.start(made.weights) | {"phase": np.array(1)}
    sums, cohort = algorithm.zero(), cohort_of(made, 0)
    for client, share in zip(cohort.clients.tolist(), cohort.shares.tolist(), strict=True):
        job, report = trained(made, state, 0, client, share=share)
        values, up, *_ = algorithm.message(job, report)["relevance"]
        algorithm.add(sums, arrival_of(values * up.mask(), up, share, name="relevance"))
    found = sums["relevance"].mean(np.zeros_like(made.weights))[algorithm.units.place]
    count = len(made.engine.data.samples)
    everything = Partition(np.arange(count), np.array([0, count]))
    made.engine.data = replace(made.engine.data, partition=everything)
    whole = algorithm.message(*trained(made, state, 0, 0))["relevance"].values
    whole = whole[algorithm.units.place]
    np.testing.assert_allclose(found, whole, atol=1e-5)


def test_the_unit_of_least_magnitude_goes_after_smoothing_from_zero():
    """rho 0.5, -0.1, 0.3, -0.9, 0.2 by rank "absolute" and "signed"; averages begin at 0."""
    rho = np.array([0.5, -0.1, 0.3, -0.9, 0.2], np.float32)
    for rank, gone in (("absolute", 1), ("signed", 3)):
        made = assemble(resolve(TEXT, "test", [f"algorithm.rank={rank}"]), Serial(), None)
        algorithm = made.algorithm
        state = algorithm.start(made.weights) | {"phase": np.array(1)}
        sums, values = algorithm.zero(), np.zeros_like(made.weights)
        values[algorithm.units.place[4:]] = rho
        sums["relevance"].add(values, 1.0)
        after = algorithm.step(state, sums, 0)
        np.testing.assert_allclose(after["relevance"][4:], 0.2 * rho, atol=1e-6)
        assert np.flatnonzero(after["units"] == 0).tolist() == [4 + gone] and after["phase"] == 0
        again = algorithm.step(after | {"phase": np.array(1)}, sums, 1)
        # The average of the removed unit is reset; the others go on: 0.8 * 0.2 + 0.2.
        expected = np.where(np.arange(5) == gone, 0, 0.36 * rho)
        np.testing.assert_allclose(again["relevance"][4:], expected, atol=1e-6)


def test_a_round_in_which_nobody_measured_removes_nothing():
    algorithm = experiment("skeletonization").algorithm
    state = algorithm.start(np.ones(algorithm.layout.size, np.float32)) | {"phase": np.array(1)}
    assert algorithm.step(state, algorithm.zero(), 3) is state


def test_channels_of_convolutions_are_trimmed_federated():
    simulation, rows = simulate("skeletonization", ("run.rounds=7",), criterion=100.0)
    units = simulation.state["units"]
    assert (units == 0).sum() == 3 and units[0] == 1
    sizes = [row.columns["bytes_down"] for row in rows]
    found = [row.columns["flops_inference"] for row in rows]
    # A channel of conv2 goes: its own multiply-adds, and those that read it.
    assert found == sorted(found, reverse=True) and len(set(found)) == 4
    assert sizes[-1] < sizes[0] and rows[6].columns["flops"] < rows[0].columns["flops"]


def test_ten_trains_are_told_apart_by_the_two_features_that_suffice():
    """Seven inputs are trimmed to a closed car and three or more cars, whatever the seed."""
    text = (ROOT / "jobs/configs/trains.toml").read_text()
    for seed in (1, 2):
        how = [f"run.seed={seed}", f"run.engine={TRAINER}"]
        made = assemble(resolve(text, "test", how), Serial(), None)
        simulation = Simulation(made, Serial(), NoSignals())
        while simulation.state["phase"] != 2:
            simulation.round()
        assert simulation.state["units"].tolist() == [0, 1, 0, 1, 0, 0, 0, 1]
        x, y = made.test.take(np.arange(10))
        outputs = made.engine.outputs(simulation.state["weights"], x)
        assert (outputs.argmax(1) == y).all()


def test_relevance_tells_which_unit_of_a_fitted_network_can_go():
    """Against true removal: magnitudes rank well, and signs mislead."""
    place = spec_from_file_location("relevance", ROOT / "jobs/relevance.py")
    relevance = module_from_spec(place)
    place.loader.exec_module(relevance)
    found = relevance.study(8, (4, 8, 10, 13))  # seeds that learn soon
    assert found["nets"] >= 2 and found["rank absolute"] > 0.5
    assert found["linear"] > 5 * found["square"]
    assert found["negative"] >= found["truly negative"]
    assert relevance.correlation(np.array([1, 3, 2]), np.array([1, 3, 2.5])) == pytest.approx(1)


@pytest.mark.parametrize("problem", ["cue-salience", "multiplexer", "random-mapping"])
def test_the_papers_other_problems_are_learned(problem):
    simulation = central(
        f"data.problem={problem}", "model.hidden=[8]", "algorithm.units=8", "run.rounds=40"
    )
    x, y = simulation.experiment.test.take(np.arange(len(simulation.experiment.test)))
    right = simulation.experiment.engine.outputs(simulation.state["weights"], x).argmax(1) == y
    assert right.mean() >= 0.95


def test_the_salient_cue_is_far_more_relevant_than_its_weights_are_larger():
    """Section 3.1: the cue that always agrees has nearly all the relevance, not all the weight."""
    simulation = central("data.problem=cue-salience", "model.hidden=[1]", "run.rounds=30")
    made, weights = simulation.experiment, simulation.state["weights"]
    rho = np.abs(measured(made, weights, "softmax-linear")[:4])
    size = np.abs(weights[made.layout.slice("fc1.weight")])
    assert rho.argmax() == size.argmax() == 0
    assert rho[0] / rho[1:].max() > size[0] / size[1:].max()


def test_the_problems_are_those_of_the_paper():
    x, y = (getattr(load("rules"), name) for name in ("x_train", "y_train"))
    on = {tuple(row) for row in (x[y == 1] > 0).astype(int).tolist()}
    assert on == {(0, 0, 0, 0), (1, 1, 0, 0), (1, 1, 0, 1), (1, 1, 1, 0), (1, 1, 1, 1)}
    data = load("rules", options={"problem": "multiplexer"})
    for row, label in zip((data.x_train > 0).astype(int).tolist(), data.y_train, strict=True):
        assert row[2 + 2 * row[0] + row[1]] == label
    data = load("rules", options={"problem": "cue-salience"})
    agree = ((data.x_train > 0) == (data.y_train == 1)[:, None]).sum(axis=0)
    assert agree.tolist() == [10, 8, 6, 5] and data.y_train.sum() == 5
    data = load("rules", options={"problem": "trains"})
    east, west = (data.x_train[data.y_train == label] > 0 for label in (1, 0))
    enough = [
        pair
        for pair in combinations(range(7), 2)
        if not {*map(bytes, east[:, pair])} & {*map(bytes, west[:, pair])}
    ]
    assert enough == [(1, 3)] and len(east) == len(west) == 5
    agree = (east.sum(axis=0) + (~west).sum(axis=0)).tolist()
    assert agree == [2, 8, 8, 8, 7, 3, 5]  # of ten trains; one feature tells nothing
    data = load("rules", options={"problem": "random-mapping", "bits": 5})
    assert data.x_train.shape == (32, 5) and data.y_train.sum() == 16
