"""Late clients of asynchronous rounds, and parts of the model that came back since they began."""

import numpy as np
import pytest

from fedmpi.exchange import Arrival, Job, Part
from fedmpi.layout import Support
from fedmpi.plan import Plan
from tests.algorithms.problem import trained
from tests.round.test_flights import simulation


@pytest.mark.parametrize("began", ["without the unit", "with it"])
def test_a_unit_that_came_back_stays_as_it_is_for_a_client_that_never_had_it(began):
    run = simulation(algorithm={"name": "skeletonization"}, model={"name": "mlp", "hidden": [6]})
    method, whole = run.algorithm, run.state
    units = whole["units"].copy()
    units[-2] = 0
    back = ~run.algorithm.kept({"units": units}).astype(bool)
    small = whole | {"units": units, "weights": whole["weights"] * ~back}
    old = small if began == "without the unit" else whole
    run.cohorts._states = {0: old, 2: whole}
    plan = method.plan(old, 0, 3)
    made, report = trained(run.experiment, old, 0, 3, plan)
    message = method.message(made, report)
    arrival = Arrival(3, 1.0, 1, 0.0, message, 0)
    arrival = run.cohorts.received(Job(3, 0, old, plan, 1.0), arrival)
    sums = method.zero()
    method.add(sums, arrival)
    after = method.step(whole | {"phase": np.array(2)}, sums, 2)["weights"]
    moved = np.abs(after - whole["weights"])
    assert moved[~back].max() > 1e-4 and np.abs(whole["weights"][back]).max() > 0.05
    assert (moved[back].max() < 1e-6) == (began == "without the unit")


def test_rows_that_a_late_client_never_got_count_as_todays_where_there_are_any():
    """Ten rows of weights, then ten of biases: the client got 0 to 4 and sends 0 to 3 of each."""
    run = simulation()
    run.algorithm.level, run.algorithm.fill = "row", "zero"
    layout, old = run.experiment.layout, run.state["weights"]
    got, sent = (Support(layout, "row", np.tile(np.arange(10) < n, 2)) for n in (5, 4))
    today = np.where(np.repeat(np.tile(np.arange(10) < 9, 2), np.diff(layout.starts("row"))),
                     np.float32(2), np.float32(0))
    run.cohorts._states = {0: {"weights": old}, 1: {"weights": today}}
    job = Job(3, 0, {"weights": old}, Plan(down=got, up=sent), 1.0)
    message = {"weights": Part(np.where(sent.mask(), old, np.float32(0)), sent)}
    part = run.cohorts.received(job, Arrival(3, 1.0, 1, 0.0, message, 0)).parts["weights"]
    assert part.support.keep[:10].tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 1, 0]
    expected = np.where(part.support.mask(), today, np.float32(0))
    np.testing.assert_allclose(part.values, expected, atol=1e-6)


def test_bits_of_a_late_client_weigh_less_and_stay_bits():
    """They were scaled like a change, so a late mask of ones pulled every probability to 0."""
    run = simulation(algorithm={"name": "fedpm"}, model={"name": "mlp", "hidden": [6]})
    method, state, masks, sums = run.algorithm, run.state, [], run.algorithm.zero()
    run.cohorts._states = {0: state, 2: state}
    for client, began in ((3, 0), (4, 2)):
        job, report = trained(run.experiment, state, began, client, share=0.5)
        message = method.message(job, report)
        masks.append(message["weights"].values)
        method.add(sums, run.cohorts.received(job, Arrival(client, 0.5, 1, 0.0, message, began)))
    late = (1 + 2) ** -0.5
    mean = (late * masks[0] + masks[1]) / (late + 1)
    found = method.step(state, sums, 0)["theta"]
    np.testing.assert_allclose(found, 0.01 + 0.98 * mean, atol=1e-6)
    assert (masks[0] != masks[1]).any() and masks[0].any()
