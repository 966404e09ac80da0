"""Losses of any kind, dropout and statistics of any kind, with many clients at once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import fedmpi
from fedmpi.comm.base import Serial
from fedmpi.errors import ConfigError
from fedmpi.experiment.assemble import assemble
from fedmpi.experiment.resolve import of_tree
from fedmpi.experiment.stop import NoSignals
from fedmpi.learn.batched.device_memory import device_memory
from fedmpi.learn.engine import ClientData, OnDevice
from fedmpi.learn.engines import engine_for
from fedmpi.learn.layout_of import layout_of
from fedmpi.learn.models.transformer import char_transformer
from fedmpi.learn.partitions.partition import Partition
from fedmpi.learn.sample_arrays import Samples
from fedmpi.round.loop import Simulation
from tests.learn import test_any_model as anything
from tests.learn.any_models import Averaging, Net
from tests.learn.test_mechanisms import LOCAL, compare, plan_of, reports, some

HERE, SIZES = "tests.learn.test_batched_models:", (9, 5, 2, 0)
RNG = np.random.default_rng(4)
FEATURES = RNG.standard_normal((16, 6)).astype(np.float32)
NUMBERS = FEATURES[:, :3] + 0.1 * RNG.standard_normal((16, 3)).astype(np.float32)
TEXT = RNG.integers(0, 7, (16, 7)).astype(np.uint8)


@fedmpi.loss(target="numbers")
def quartic(outputs, targets):
    """Mean of the fourth powers."""
    return (outputs - targets).pow(4).mean()


@fedmpi.loss(target="numbers")
def summed(outputs, targets):
    """No mean."""
    return (outputs - targets).square().sum()


@fedmpi.loss
def weighted(outputs, targets):
    """Cross-entropy in which the last of five classes counts twice."""
    return functional.cross_entropy(outputs, targets, torch.tensor([1.0, 1.0, 1.0, 1.0, 2.0]))


@fedmpi.loss(target="tokens")
def padded(outputs, targets):
    """Cross-entropy of each token but token 6."""
    return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=6)


def five():
    torch.manual_seed(1)
    return nn.Linear(6, 5)


def mlp():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3))


def transformer():
    torch.manual_seed(1)
    return char_transformer((6,), 7, width=8, depth=1, heads=2, every_token=True)


CASES = {
    "next-token": (transformer, TEXT[:, :6], TEXT[:, 6]),
    "bce": (mlp, FEATURES, (NUMBERS > 0).astype(np.float32)),
    "mse": (mlp, FEATURES, NUMBERS),
    HERE + "quartic": (mlp, FEATURES, NUMBERS),
    HERE + "summed": (mlp, FEATURES, NUMBERS),
    HERE + "weighted": (five, FEATURES, RNG.integers(0, 5, 16)),
    HERE + "padded": (transformer, TEXT[:, :6], TEXT[:, 6]),
}
REFUSED = {  # by the batched engine: what it says
    "summed": r"summed' gives .* for three samples, and .* alone",
    "weighted": r"weighted' gives .* for 16 samples of classes from 0 on",
    "padded": r"padded' gives .* for .* samples",
}


def engine(name, loss, local=LOCAL, stacked=None):
    """Return an engine for clients of 9, 5, 2 and no samples."""
    build, x, y = CASES[loss]
    samples = Samples(x, y, following=build is transformer)
    partition = Partition(np.arange(16), np.cumsum([0, *SIZES]))
    data = ClientData(samples, partition, replace(local, batch_size=4), seed=11, loss=loss)
    on = OnDevice(stacked=stacked, chunk=2)
    return engine_for(lambda options: build(), x[:1], data, name, on=on)


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("loss", [name for name in CASES if name.removeprefix(HERE) not in REFUSED])
def test_every_loss_is_minimised_as_the_other_engines_do(loss, optimizer, stacked):
    """The last batches of the clients have one sample, two and one."""
    momentum, lr = (0.5, 0.1) if optimizer == "sgd" else (0.0, 1e-3)
    local = replace(LOCAL, optimizer=optimizer, momentum=momentum, lr=lr)
    mine = engine("batched", loss, local, stacked)
    plan = plan_of(mine.layout, statistics=("gradient",), clip=2.0)
    jobs = [(client, 1) for client in range(len(SIZES))]
    found, index = reports(mine, plan, jobs), np.arange(16)
    for name in ("torch", "debug"):
        other = engine(name, loss, local)
        compare(found, reports(other, plan, jobs))
        outputs, y = mine.outputs_at(found[0].weights, mine.data.samples, index)
        wanted, targets = other.outputs_at(found[0].weights, other.data.samples, index)
        np.testing.assert_allclose(outputs, wanted, rtol=1e-4, atol=1e-5)
        assert y.dtype == targets.dtype and np.array_equal(y, targets)


def test_a_loss_that_is_no_mean_and_outputs_that_do_not_fit_are_refused():
    for name, words in REFUSED.items():
        with pytest.raises(ConfigError, match=words):
            engine("batched", HERE + name, stacked=True)
        compare(*(  # no batch is filled up where one client's layers run after another's
            reports(made, plan_of(made.layout))
            for made in (engine("batched", HERE + name, stacked=False),
                         engine("torch", HERE + name))
        ))  # fmt: skip
    build, x, _ = CASES["mse"]
    data = replace(engine("debug", "next-token").data, loss="next-token")
    with pytest.raises(ConfigError, match=r"shape \[N, 3\], and .*'next-token' needs \[N, T, tok"):
        engine_for(lambda options: build(), x[:1], data, "batched")


@pytest.mark.parametrize(
    ("data", "model"),
    [("test_metrics:cycle",
      {"name": "every_token", "loss": "next-token", "metrics": ["perplexity"]}),
     ("halves:labelled", {"name": "softmax", "loss": "bce", "metrics": ["f1", "auc"]}),
     ("halves:measured", {"name": "softmax", "loss": "huber", "metrics": ["rmse"]})],
)  # fmt: skip
def test_losses_and_metrics_of_a_run_are_those_of_the_torch_engine(data, model):
    ours = "tests.learn.test_metrics:"
    model = model | {key: ours + model[key] for key in ("name", "loss")
                     if model[key] in ("every_token", "huber")}  # fmt: skip
    rows = []
    for name in ("batched", "torch"):
        tree = {
            "run": {"rounds": 2, "engine": name}, "data": {"name": f"tests.learn.{data}"},
            "clients": {"number": 4, "batch_size": 16}, "model": model, "optimizer": {"lr": 0.3},
        }  # fmt: skip
        run = Simulation(assemble(of_tree(tree), Serial(), None), Serial(), NoSignals())
        rows.append([run.round() for _ in range(2)])
    for row, other in zip(*rows, strict=True):
        for name in ("train_loss", "test_loss"):
            assert row.columns[name] == pytest.approx(other.columns[name], rel=1e-4) and row.metrics
        assert row.metrics == pytest.approx(other.metrics, rel=1e-3)


def recurrent():
    """Dropout between recurrent layers and in attention; normalised, with a batch of one sample."""
    return Net(
        lambda net, x: net.head(net.norm(net.drop(net.seen(net.gru(x[:, 0])[0])).mean(1))),
        gru=nn.GRU(8, 12, 2, dropout=0.3, batch_first=True), drop=nn.Dropout(0.2),
        seen=nn.TransformerEncoderLayer(12, 3, 16, dropout=0.2, batch_first=True),
        norm=nn.BatchNorm1d(12), head=nn.Linear(12, 10),
    )  # fmt: skip


def averaged():
    return nn.Sequential(nn.Flatten(), Averaging(64), nn.Linear(64, 10))


MODELS = {"recurrent": recurrent, "averaged": averaged} | anything.BUILD


@pytest.mark.parametrize("kind", ["dropout", "encoder", "recurrent", "averaged"])
def test_random_numbers_are_those_that_the_torch_engine_draws(kind):
    """Also in passes that measure; and nothing draws from the generator of the process."""

    def make():
        torch.manual_seed(3)
        return MODELS[kind]()

    told = {"statistics": ("columns", "gradient", "curvature")} if kind == "dropout" else {
        "statistics": ("gradient", "curvature"), "probes": 2}  # fmt: skip
    mine, other = (anything.engine(name, make) for name in ("batched", "torch"))
    before = torch.get_rng_state()
    found, wanted = anything.reports(mine, **told), anything.reports(other, **told)
    assert torch.equal(before, torch.get_rng_state()) and not mine.facts["stacked"]
    compare([replace(r, statistics={}) for r in found], [replace(r, statistics={}) for r in wanted])
    for one, same in zip(found, wanted, strict=True):
        for name in one.statistics:
            values, expected = (np.hstack(r.statistics[name]) for r in (one, same))
            scale = np.abs(expected).max()
            np.testing.assert_allclose(values, expected, rtol=2e-2, atol=2e-3 * scale)
    again = anything.reports(mine, ((1, 0), (0, 5), (0, 2)), **told)
    assert [again[2].weights.tobytes(), again[0].weights.tobytes()] == [
        report.weights.tobytes() for report in found
    ]
    assert kind == "averaged" or again[1].loss != again[2].loss
    mine.chunk = 1
    assert anything.reports(mine, **told)[0].weights.tobytes() == found[0].weights.tobytes()


def dropped():
    return nn.Sequential(
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(),
        nn.Linear(8, 10),
    )  # fmt: skip


@pytest.mark.parametrize("fixed", [True, False])
def test_a_pass_at_dense_weights_draws_the_numbers_of_its_step(fixed):
    """Whether an engine takes it, where the weights under the mask are 0 anyway, does not count."""

    def make():
        torch.manual_seed(3)
        return dropped()

    made = [anything.engine(name, make) for name in ("batched", "torch", "debug")]
    layout = made[0].layout
    mask = some(layout, 2)
    told = {"mask": mask, "dense_norm": True}
    if fixed:
        told |= {"update": mask, "start": mask * made[0].initial_weights}
    found = [anything.reports(engine, **told) for engine in made]
    compare(found[0], found[1])
    compare(found[0], found[2])


def test_random_numbers_of_other_generators_are_refused_and_memory_is_measured():
    class Noise(nn.Module):
        def forward(self, x):
            return x * (1 + 1e-5 * float(np.random.default_rng().random()))  # too little to see

    with pytest.raises(ConfigError, match=r"different gradient each time; .*torch's default"):
        anything.engine("batched", lambda: nn.Sequential(nn.Conv2d(1, 2, 8), Noise(), nn.Flatten(),
                                                         nn.Linear(2, 10)))  # fmt: skip
    for make, x, loss in (
        (transformer, TEXT[:1, :6], "next-token"), (mlp, FEATURES[:1], "bce"),
        (anything.BUILD["dropout"], anything.SAMPLE, "cross-entropy"),
    ):  # fmt: skip
        module = make()
        layout, one = layout_of(module, x), Partition(np.zeros(1, np.int64), np.array([0, 1]))
        data = ClientData(Samples(x, np.zeros(1, np.int64)), one, LOCAL, seed=1, loss=loss)
        assert device_memory(module, layout, x, data, 0).each > 4 * 4 * layout.size
