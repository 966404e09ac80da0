"""ADP v1 and v2: gated or pruned weights, and their effect on the global model and the bytes."""

import numpy as np
import pytest

from fedmpi.errors import RejectedError
from tests.algorithms.by_hand import arrival_of
from tests.algorithms.problem import experiment, simulate, trained, weights_of

KEYS = {"feddip": {"every": 2}, "prunefl": {"every": 2, "free": 0.5}, "dpf": {"start": 0.5}}
CONVS = ("conv1.weight", "conv2.weight")


def entries(layout, weights):
    return np.concatenate([weights[layout.slice(name)] for name in CONVS])


def reports(made, round=0, clients=(1, 3, 7), state=None):
    state = state or made.algorithm.start(made.weights)
    for client in clients:
        job, report = trained(made, state, round, client, share=1 / len(clients))
        yield job.plan, report, made.algorithm.message(job, report)


@pytest.mark.parametrize("settings", [(), ("clients.local_steps=17",)])
def test_no_small_entry_is_left_after_training(settings):
    made = experiment("adp-v2", settings, variant="released", threshold=0.05)
    for _, report, parts in reports(made):
        found = np.abs(entries(made.layout, report.weights))
        assert not ((found > 0) & (found <= 0.05)).any() and (found == 0).any()
        support = parts["weights"].support
        outside = support.mask() == 0
        assert not report.weights[outside].any() and outside.sum() == (found == 0).sum()
        assert (made.weights[made.layout.slice("fc1.weight")] != 0).all()


def test_the_global_support_is_the_union_of_the_clients():
    made = experiment("adp-v2", variant="released", threshold=0.08)
    sums, held = made.algorithm.zero(), 0
    state = made.algorithm.start(made.weights)
    for _, _, parts in reports(made):
        values, support, *_ = parts["weights"]
        made.algorithm.add(sums, arrival_of(values * support.mask(), support, 1 / 3))
        held = held | (support.mask() != 0)
    after = made.algorithm.step(state, sums, 0)["weights"]
    convs = np.zeros(made.layout.size, bool)
    for name in CONVS:
        convs[made.layout.slice(name)] = True
    assert np.array_equal((after != 0)[convs], held[convs])
    assert made.algorithm.density({"weights": after}) < 1


@pytest.mark.parametrize("inside", ["fedavg", "fedprox", "fednova", "scaffold"])
def test_noise_at_the_server_leaves_at_0_what_every_client_pruned(inside):
    keys = {"variant": "released", "threshold": 0.08, "inside": inside}
    noise = ("run.rounds=1", 'stage=[{name="gaussian", multiplier=0.01}]')
    (quiet, _), (noisy, _) = (simulate("adp-v2", more, **keys) for more in (noise[:1], noise))
    left, found = weights_of(quiet) != 0, weights_of(noisy)
    assert not left.all() and np.array_equal(found != 0, left)
    assert (found != weights_of(quiet))[left & quiet.experiment.layout.trained].all()


def test_sparsity_and_bytes_follow_the_threshold():
    sizes = []
    for threshold in (0.0, 0.05, 0.15):
        simulation, rows = simulate("adp-v2", variant="released", threshold=threshold)
        sizes.append((rows[-1].columns["bytes_up"], rows[-1].columns["density_up"]))
        density = simulation.algorithm.density(simulation.state)
        assert density >= rows[-1].columns["density_up"]  # the mean is denser than its clients
        assert rows[-1].columns["model_density"] == density
    assert sizes[0] > sizes[1] > sizes[2]


def test_only_salient_weights_move_and_only_those_that_moved_are_sent():
    made = experiment("adp-v2", salient=0.1)
    total = sum(made.layout.tensors[made.layout.names.index(name)].size for name in CONVS)
    for _, report, parts in reports(made):
        changed = entries(made.layout, report.weights != made.weights)
        assert 0 < changed.sum() <= 3 * round(0.1 * total)
        moved = entries(made.layout, parts["weights"].support.mask())
        assert (moved >= changed).all() and moved.sum() <= 3 * round(0.1 * total)


@pytest.mark.parametrize("inside", ["fedavg", "fedprox", "fednova", "scaffold"])
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("adp-v1", {"ratio": 0.5}),
        ("adp-v2", {"salient": 0.3}),
        ("adp-v2", {"variant": "released", "threshold": 0.02}),
    ],
)
def test_both_work_inside_other_algorithms(name, keys, inside):
    simulation, rows = simulate(name, inside=inside, **keys)
    assert np.isfinite(weights_of(simulation)).all()
    plain, _ = simulate(name, inside="fedavg", **keys)
    same = np.allclose(weights_of(plain), weights_of(simulation), atol=1e-6)
    assert same == (inside in ("fedavg", "fednova"))  # all clients take as many steps
    assert simulation.algorithm.remembers == (inside == "scaffold")
    assert rows[-1].columns["clients_completed"] == 5


def test_gates_travel_and_their_cost_is_counted():
    gated, dense = experiment("adp-v1", ratio=0.5), experiment("fedavg")
    added = gated.layout.size - dense.layout.size
    assert added == 4 * (1 + 1) + 6 * (4 + 1)
    (plan, report, _), *_ = reports(gated)
    left = dict(zip([layer.name for layer in gated.layout.layers], plan.gates, strict=True))
    assert (left["conv1"], left["conv2"], left["fc1"]) == (0.5, 0.25, 0.5)
    assert plan.up.whole
    (other, dense_report, _), *_ = reports(dense)
    macs = [layer.macs for layer in dense.layout.layers]
    saved = dense.flops(other, dense_report) - gated.flops(plan, report)
    # forward and both gradients, but no input gradient of the layer that reads the samples
    expected = 2 * report.seen * (2 * macs[0] * 0.5 + 3 * macs[1] * 0.75 + 3 * macs[2] * 0.5)
    assert saved == pytest.approx(expected - 2 * report.seen * (2 * 4 + 3 * 24))


def test_the_inference_column_says_what_gates_and_zeros_save():
    """conv1 keeps 2 of 4 channels, conv2 reads them and keeps 3 of 6, fc1 reads those."""
    dense, gated = experiment("fedavg"), experiment("adp-v1", ratio=0.5)
    conv1, conv2, fc1, fc2 = (2 * layer.macs for layer in dense.layout.layers)
    gates = 2 * 4 * 1 + 2 * 6 * 4  # the gates' own layers
    _, rows = simulate("adp-v1", ratio=0.5)
    expected = conv1 / 2 + conv2 / 4 + fc1 / 2 + fc2 + gates
    assert rows[-1].columns["flops_inference"] == pytest.approx(expected)
    assert gated.flops_inference({}) == pytest.approx(expected)
    assert dense.flops_inference({}) == conv1 + conv2 + fc1 + fc2
    simulation, rows = simulate("adp-v2", variant="released", threshold=0.1)
    left = [
        (weights_of(simulation)[simulation.experiment.layout.slice(name)] != 0).mean()
        for name in CONVS
    ]
    expected = conv1 * left[0] + conv2 * left[1] + fc1 + fc2
    assert min(left) < 1 and rows[-1].columns["flops_inference"] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["static-mask", "dpf", "prunefl", "feddst", "feddip"])
def test_masks_save_inference_in_proportion_to_each_layers_density(name):
    simulation, rows = simulate(name, **KEYS.get(name, {}))
    layout, mask = simulation.experiment.layout, simulation.state["mask"]
    expected = sum(
        2 * layer.macs * mask[layout.slice(f"{layer.name}.weight")].mean()
        for layer in layout.layers
    )
    assert mask.mean() < 1
    assert rows[-1].columns["flops_inference"] == pytest.approx(expected)


def test_residual_networks_say_what_they_need():
    """Gates on raw means grow along the stream; a sigmoid in front of them keeps it in bounds."""
    deep = ("model.name=resnet20", "optimizer.lr=0.1", "run.rounds=1", "clients.per_round=2")
    with pytest.raises(RejectedError, match=r"squash = true, which residual networks need"):
        simulate("adp-v1", deep, ratio=0.6, stem=False)
    _, rows = simulate("adp-v1", deep, ratio=0.6, stem=False, squash=True)
    assert rows[0].columns["clients_completed"] == 2


def test_data_decide_the_channels():
    made = experiment("adp-v1", ("run.engine=torch",), ratio=0.5)
    x, _ = made.test.take(np.arange(50))
    made.engine.outputs(made.weights, x)
    opened = made.engine.gradients.module.conv2.gate.open != 0
    assert (opened.sum(1) <= 3).all() and len({tuple(row.tolist()) for row in opened}) > 1
