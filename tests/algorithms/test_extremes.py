"""Methods at the ends of their keys, and masks where clients are late or noise is added."""

import tomllib
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

import fedmpi
from fedmpi.comm.base import Serial
from fedmpi.errors import ConfigError, RejectedError
from fedmpi.experiment.stop import NoSignals
from fedmpi.layout import Support
from fedmpi.round.loop import Simulation
from fedmpi.sparsity import coordinates, prunable
from tests.algorithms.by_hand import made
from tests.algorithms.problem import HERE, TEXT, assemble_tree, experiment, simulate, weights_of
from tests.models import TINY, WEIGHTS

EMPTY = 1 - 1e-9  # a sparsity that leaves no weight of a small model


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("feddip", {"start": EMPTY, "end": EMPTY, "every": 1}),
        ("feddst", {"sparsity": EMPTY, "every": 1}),
        ("fedmef", {"sparsity": EMPTY, "every": 1, "until": 1.0}),
        ("fedrts", {"sparsity": EMPTY, "every": 1, "until": 1.0}),
        ("fedsgc", {"sparsity": EMPTY, "every": 1, "until": 1.0}),
        ("fedtiny", {"sparsity": EMPTY, "candidates": 1, "every": 1, "until": 1.0}),
        ("flash", {"sparsity": EMPTY, "warmup": 2}),
        ("flash", {"sparsity": EMPTY, "warmup": 2, "masks": "fixed", "shares": [0.5]}),
        ("sparsyfed", {"sparsity": EMPTY}),
        ("static-mask", {"sparsity": EMPTY, "mask": "synflow", "rescale": True}),
    ],
    ids=lambda of: of if isinstance(of, str) else "",
)
def test_a_sparsity_that_leaves_no_weight_leaves_biases_and_normalisation(name, keys):
    simulation, rows = simulate(name, **keys)
    layout = simulation.experiment.layout
    inside = coordinates(layout, prunable(layout))
    weights = weights_of(simulation)
    assert not weights[inside].any() and weights[~inside].any() and np.isfinite(weights).all()
    assert rows[-1].columns["model_density"] == pytest.approx(1 - inside.mean())


def test_a_client_of_fiarse_that_can_hold_no_weight_trains_the_rest():
    simulation, rows = simulate("fiarse", shares=[1e-9])
    layout = simulation.experiment.layout
    inside = coordinates(layout, prunable(layout))
    same = weights_of(simulation) == simulation.experiment.weights
    assert same[inside].all() and not same[~inside].all()
    assert rows[0].columns["clients_completed"] == 5


@pytest.mark.parametrize("name", ["feddip", "feddst", "fedrts", "fedsgc", "fedspa", "static-mask"])
def test_a_power_with_which_erk_has_no_numbers_is_refused(name):
    with pytest.raises(ConfigError, match=r"algorithm\.power = inf: must be at most 10"):
        experiment(name, power=float("inf"))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("fedprox", "mu", "inf"), ("fedmtl", "strength", "inf"), ("feddip", "penalty", "inf"),
        ("fedpm", "margin", "1e-9"), ("fedrts", "trust", "inf"), ("prunefl", "constant", "inf"),
        ("prunefl", "seconds", "[1e-6, 0.0, 1e-6, 1e-6]"), ("sparsyfed", "beta", "inf"),
    ],
)  # fmt: skip
def test_a_number_that_a_method_cannot_count_with_is_refused(name, key, value):
    """Runs with these keys ended in NaN or in a probability of 0 or 1, some without a message."""
    with pytest.raises(ConfigError, match=rf"algorithm\.{key}.*: must be"):
        experiment(name, (f"algorithm.{key}={value}",))


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("adp-v2", {"mu": 1e30, "inside": "fedprox"}),
        ("feddip", {"penalty": 1e30}),
        ("fedmef", {"penalty": 1e30, "until": 1.0}),
        ("fedmtl", {"strength": 1e30}),
        ("fedpm", {"spread": 1e30}),
        ("fedprox", {"mu": 1e30}),
        ("prunetrain", {"penalty": 1e30}),
        ("sparsyfed", {"beta": 1e3}),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the numbers that overflow
def test_training_that_diverges_names_the_key_beside_the_learning_rate(name, keys):
    with pytest.raises(RejectedError) as caught:
        simulate(name, **keys)
    remedy = str(caught.value).splitlines()[-1]
    assert remedy.startswith(f"lower optimizer.lr or algorithm.{next(iter(keys))} and run again")


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("heterofl", {"widths": [1e-12]}),
        ("fedrolex", {"widths": [1e-12]}),
        ("federated-dropout", {"widths": [1e-12]}),
        ("fedmp", {"ratios": [1 - 1e-12]}),
    ],
)
def test_the_narrowest_network_has_a_row_of_each_layer(name, keys):
    made = experiment(name, **keys)
    plan = made.algorithm.plan(made.algorithm.start(made.weights), 0, 0)
    assert [sum(rows) for rows in plan.submodel.rows] == [1, 1, 1, 10]
    assert np.isfinite(simulate(name, **keys)[1][-1].columns["train_loss"])


def test_a_ticket_that_drops_nothing_is_not_rewound():
    """With a rate that rounds to no weight, a client began each round at the first weights."""
    setting = {"accuracy": lambda client, weights: 1.0}
    algorithm = made("lotteryfl", accuracy=0.0, rate=0.05, setting=setting)
    plan = algorithm.plan({"weights": WEIGHTS, "first": WEIGHTS * 7}, 3, 0)
    assert plan.mask.all() and np.array_equal(plan.start, WEIGHTS)


@pytest.mark.parametrize(
    ("name", "keys", "total"),
    [
        ("fedpm", {"margin": 1e-6}, "weights"),
        ("fedrts", {"trust": 1e9, "every": 1, "until": 1.0}, "core"),
    ],
)
def test_a_share_of_all_clients_is_at_most_one_in_fast_sums_too(name, keys, total):
    """In float32 the mean of ones exceeded 1: theta was above 1, and posteriors had no numbers."""
    one = made(name, **keys)
    algorithm = type(one)(one.keys, replace(one.setting, exact=False))
    state, sums, ones = algorithm.start(WEIGHTS), algorithm.zero(), np.ones(20, np.float32)
    for _ in range(188):  # with so many the sum of shares exceeds 1 by more than the margin
        for every in sums.values():
            every.add(ones, 1 / 188, Support(TINY, "coordinate", np.ones(20, np.uint8)))
    assert sums[total].mean(ones).max() > 1
    after = algorithm.step(state, sums, 1)
    if name == "fedpm":
        assert 0.99 < after["theta"].max() < 1
    else:
        assert after["lost"].min() >= 1 and after["won"].max() > 1e8


@fedmpi.model
def only_normed(input_shape, classes):
    """A normalisation, without any weight that may be pruned; 64 scales and shifts on digits."""
    return nn.Sequential(nn.Flatten(), nn.LayerNorm(64), Few(classes))


class Few(nn.Module):
    """The first columns of its input."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def forward(self, x):
        """Return float32[N, count]."""
        return x[:, : self.count]


@pytest.mark.parametrize("name", ["fedpm", "fedtiny", "lotteryfl", "static-mask", "sub-fedavg"])
def test_a_model_without_weights_to_prune_is_refused(name):
    """Such runs ended in a division by zero, or did not prune, or did not train at all."""
    keys = {"candidates": 1, "every": 1, "until": 1.0} if name == "fedtiny" else {}
    with pytest.raises(ConfigError, match=r"^model: has no weight that .* such as fedavg$"):
        experiment(name, (f"model.name={__name__}:only_normed",), **keys)


def test_the_smallest_skeleton_has_a_row_of_each_layer():
    made = experiment("fedskel", ratio=1e-12)
    rows = made.algorithm.skeletons.split(made.algorithm.skeletons.typical(1e-12))
    assert [None if kept is None else sum(kept) for kept in rows] == [1, 1, 1, None]


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("fedtiny", {"sparsity": 0.8, "candidates": 2}),
        ("flash", {"sparsity": 0.8, "masks": "fixed"}),
        ("static-mask", {"sparsity": 0.8}),
    ],
)
def test_a_first_round_without_reports_is_repeated(name, keys):
    """This round finds the mask; when it was not repeated, the model was never pruned."""
    lost = ("devices.dropout=0.8", "clients.per_round=2", "run.rounds=12", "run.seed=4")
    lost += (f"model.name={HERE}plain",) if name == "fedtiny" else ()
    simulation, rows = simulate(name, lost, **keys)
    completed = [row.columns["clients_completed"] for row in rows]
    assert completed[0] == 0 and any(completed[1:])
    layout = simulation.experiment.layout
    share = coordinates(layout, prunable(layout)).mean()
    density = simulation.algorithm.density(simulation.state)
    assert density == pytest.approx(1 - 0.8 * share, abs=0.01)


MOVING = {
    "dpf": {},
    "feddip": {"every": 2},
    "feddst": {"every": 3, "alpha": 0.5},
    "fedrts": {"every": 1, "until": 1.0},
    "fedsgc": {"every": 1, "until": 1.0, "alpha": 1.0},
    "fedtiny": {"candidates": 1, "every": 1, "until": 1.0},
    "flash": {"warmup": 2, "sparsity": 0.7, "rate": 1.0},
    "prunefl": {"every": 2, "free": 0.8, "exchange": 1.0},
    "prunetrain": {"threshold": 0.2, "every": 2},
    "skeletonization": {"criterion": 10.0},
    "sparsyfed": {"sparsity": 0.8},
    "static-mask": {"mask": "erk"},
}
LATE = {"schedule": {"mode": "async", "buffer_size": 2}, "devices": {"profile": "mobile"}}
NOISE = {"stage": [{"name": "clip"}, {"name": "gaussian", "multiplier": 0.01}]}


@pytest.mark.parametrize("more", [LATE, NOISE], ids=["late", "noise"])
@pytest.mark.parametrize("name", MOVING)
def test_what_is_pruned_is_0_in_the_global_model(name, more):
    """Also if a client that began under an older mask reports, or noise is added to the mean."""
    method = {"algorithm": {"name": name, **MOVING[name]}, "model": {"name": HERE + "convs"}}
    tree = tomllib.loads(TEXT.replace("rounds = 4", "rounds = 8"))
    made, *_ = assemble_tree(tree | method | more)
    simulation, pruned = Simulation(made, Serial(), NoSignals()), 0
    for _ in range(made.config.run.rounds):
        simulation.round()
        kept = made.algorithm.kept(simulation.state)
        assert not weights_of(simulation)[kept == 0].any()
        pruned += (kept == 0).sum()
    assert pruned


@fedmpi.model
def normed(input_shape, classes):
    """A convolution with a normalisation over two channels, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(144, classes)
    )


def test_relevance_of_units_needs_layers_that_read_units():
    with pytest.raises(ConfigError, match="layer 1 is of kind norm, and units are removed by rel"):
        experiment("skeletonization", (f"model.name={__name__}:normed",))


class Around(nn.Linear):
    """Adds its inputs to its outputs, so both must lose the same rows."""

    def forward(self, x):
        return x + super().forward(x)


@fedmpi.model
def around(input_shape, classes):
    """A residual network."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), Around(6, 6), nn.Linear(6, classes))


@fedmpi.model
def over_channels(input_shape, classes):
    """A network that does not run without some of its channels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.LayerNorm(6), nn.Linear(6, classes))


APART = [("fedmp", {"ratios": [0.0, 0.5]}), ("prunetrain", {}),
         ("federated-dropout", {"widths": [0.5]})]  # fmt: skip


@pytest.mark.parametrize(("name", "keys"), [("heterofl", {"widths": [1.0, 0.5]}), *APART])
def test_a_model_that_does_not_run_without_channels_is_refused_before_the_first_round(name, keys):
    """Not when a client is the first to lose some, which may be after many rounds."""
    model = f"model.name={__name__}:over_channels"
    with pytest.raises(ConfigError, match="does not run without some of its channels"):
        experiment(name, [model], **keys)


@pytest.mark.parametrize(("name", "keys"), [*APART, ("skeletonization", {})])
def test_a_sum_of_layers_that_lose_different_rows_is_refused(name, keys):
    """Channel 2 of the inputs would be added to channel 3 of the outputs."""
    with pytest.raises(ConfigError, match=r"does not compute the same .* removes other channels"):
        experiment(name, [f"model.name={__name__}:around"], **keys)


@pytest.mark.parametrize(("name", "model", "keys"), [
    ("heterofl", "around", {"widths": [0.5]}), ("fedrolex", "around", {"widths": [0.5]}),
    ("heterofl", "over_channels", {"widths": [1.0]}), ("fedmp", "around", {"ratios": [0.0]}),
    ("prunetrain", "over_channels", {"threshold": 0}),
])  # fmt: skip
def test_a_model_is_trained_by_methods_that_remove_nothing_it_needs(name, model, keys):
    experiment(name, [f"model.name={__name__}:{model}"], **keys)
