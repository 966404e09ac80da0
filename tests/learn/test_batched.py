"""Many clients at once: the same bits in any chunk, and models that are refused."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fedmpi.cli.machine import gpus_of_job
from fedmpi.config import Config
from fedmpi.errors import ConfigError, FedmpiError
from fedmpi.exchange import Job
from fedmpi.learn.augment import lines_of
from fedmpi.learn.batched import engine as engines
from fedmpi.learn.batched.chunk import Chunk
from fedmpi.learn.batched.deterministic import exact
from fedmpi.learn.batched.device_memory import Peak, device_memory
from fedmpi.learn.batched.width import width_of
from fedmpi.learn.engine import ClientData, OnDevice
from fedmpi.learn.engines import engine_for
from fedmpi.learn.gpus import device_for, gpu_of
from fedmpi.learn.partitions.partition import Partition
from fedmpi.learn.sample_arrays import Samples
from fedmpi.plan import Backward
from tests.learn.test_mechanisms import (
    CLASSES,
    LOCAL,
    PLANS,
    SHAPE,
    chain,
    close,
    compare,
    groups,
    plan_of,
    seeded,
)

VISIBLE = "CUDA_VISIBLE_DEVICES"


def mlp():
    """Hyperbolic tangents, which torch computes otherwise for what a vector register leaves."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(72, 33), nn.Tanh(), nn.Linear(33, 7), nn.Sigmoid(),
        nn.Linear(7, CLASSES),
    )  # fmt: skip


def engine(
    build, name="batched", clients=12, images=False, augment=None, batch_size=7, shape=SHAPE, **on
):
    """Return an engine for clients of 3 to 39 samples."""
    rng = np.random.default_rng(5)
    sizes = rng.integers(3, 40, clients)
    x = rng.standard_normal((sizes.sum(), *shape)).astype(np.float32)
    norm = ()
    if images:
        x, norm = rng.integers(0, 256, x.shape).astype(np.uint8), ((0.4, 0.5), (0.2, 0.3))
    samples = Samples(x, rng.integers(0, CLASSES, len(x)), *norm)
    partition = Partition(rng.permutation(len(x)), np.concatenate(([0], np.cumsum(sizes))))
    data = ClientData(samples, partition, replace(LOCAL, batch_size=batch_size), 1, augment)
    sample, _ = samples.take(np.zeros(1, np.int64))
    return engine_for(
        lambda options: seeded(build, **options), sample, data, name, on=OnDevice(**on)
    )


def trained(made, order, plans=None):
    state = {"weights": made.initial_weights}
    plans = plans or {}
    whole = plan_of(made.layout)
    jobs = (Job(c, 1, state, plans.get(c, whole), 0.1) for c in order)
    found = list(made.train(jobs))
    assert [report.client for report in found] == list(order)
    return {report.client: report for report in found}


@pytest.mark.parametrize(("chunk", "batch_size"), [(3, 7), (16, 16)])
@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("build", [chain, groups, mlp])
def test_the_bits_of_a_client_do_not_depend_on_who_shares_its_chunk(
    build, stacked, chunk, batch_size
):
    made = engine(build, stacked=stacked, chunk=chunk, batch_size=batch_size)
    plans = {c: plan_of(made.layout, **PLANS["mask"](made.layout)) for c in (1, 4, 9)}
    plans[2] = plan_of(made.layout, backward=Backward(lowest=1))
    plans[6] = plan_of(made.layout, **PLANS["scores"](made.layout))
    plans[8] = plan_of(made.layout, power=1.5, tensors=(0,))
    first = trained(made, range(12), plans)
    for order in (range(11, -1, -1), [5], [7, 2], [3, 9, 1, 5, 7, 11, 0, 2]):
        for client, report in trained(made, order, plans).items():
            np.testing.assert_array_equal(report.weights, first[client].weights)
            assert report.loss == first[client].loss
    if not stacked:  # then the width of the chunk does not count either
        other = engine(build, stacked=False, chunk=5, batch_size=batch_size)
        for client, report in trained(other, range(12), plans).items():
            np.testing.assert_array_equal(report.weights, first[client].weights)


def test_samples_of_an_odd_size_do_not_let_the_slot_count():
    """On some processors a product depends on where in 16 bytes its matrices begin."""

    def linear():
        return nn.Sequential(nn.Flatten(), nn.Linear(75, 9), nn.Linear(9, CLASSES))

    made = engine(linear, stacked=False, shape=(3, 5, 5))
    together = trained(made, range(12))
    for client in range(12):
        alone = trained(made, [client])[client]
        np.testing.assert_array_equal(alone.weights, together[client].weights)


def test_strides_of_an_axis_of_one_entry_do_not_count():
    """torch picks the layout of a convolution by them."""
    whole = np.random.default_rng(0).integers(0, 256, (40, 8, 8)).astype(np.uint8)
    ways = whole[:, None], np.lib.stride_tricks.as_strided(whole, (40, 1, 8, 8), (64, 1, 8, 1))
    np.testing.assert_array_equal(*ways)
    found = []
    for x in ways:
        x.flags.writeable = False  # as the arrays that the ranks of a node share
        samples = Samples(x, np.arange(40) % CLASSES, (0.5,), (0.5,))
        data = ClientData(samples, Partition(np.arange(40), np.array([0, 40])), LOCAL, 1)
        build = lambda options: seeded(  # noqa: E731
            lambda: nn.Sequential(
                nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 16, 3, padding=1),
                nn.Flatten(), nn.Linear(1024, CLASSES),
            )
        )  # fmt: skip
        sample, _ = samples.take(np.zeros(1, np.int64))
        found.append(trained(engine_for(build, sample, data, "batched"), [0])[0].weights)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("stacked", [True, False])
def test_images_are_normalised_and_moved_on_the_device(stacked):
    mine = engine(chain, images=True, augment=lines_of, stacked=stacked)
    debug = engine(chain, "debug", images=True, augment=lines_of)
    found, wanted = (list(trained(e, [3, 8]).values()) for e in (mine, debug))
    compare(found, wanted)
    index = np.arange(30)
    outputs, y = mine.outputs_at(mine.initial_weights, mine.data.samples, index)
    close(outputs, debug.outputs_at(mine.initial_weights, mine.data.samples, index)[0])
    np.testing.assert_array_equal(y, mine.data.samples.y[index])


def test_bfloat16_is_coarser_and_close():
    exact, coarse = (engine(mlp, precision=name) for name in ("float32", "bfloat16"))
    one, other = (trained(made, [3])[3] for made in (exact, coarse))
    assert other.loss != one.loss and other.loss == pytest.approx(one.loss, rel=0.05)


class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


def test_models_that_cannot_be_trained_in_chunks_are_refused_before_the_run():
    def mixing():
        return nn.Sequential(nn.Flatten(), nn.Linear(72, CLASSES), Centred())

    with pytest.raises(ConfigError, match="'batched': the model mixes the samples of a batch"):
        engine(mixing, stacked=True)
    engine(mixing, stacked=False)  # which fills up no batch

    class Root(nn.Module):
        def forward(self, x):
            return torch.sqrt(x - 1e6)

    with pytest.raises(ConfigError, match="the gradient of the first weights holds NaN"):
        engine(lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, CLASSES), Root()), stacked=True)

    class Deciding(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    def deciding():
        return nn.Sequential(nn.Flatten(), nn.Linear(72, CLASSES), Deciding())

    with pytest.raises(ConfigError, match=r"'batched': on cpu torch cannot.*data-dependent"):
        engine(deciding, stacked=True)


def test_an_operation_without_a_deterministic_kernel_is_refused_by_its_name():
    class Vague(nn.Module):
        def forward(self, x):
            if torch.are_deterministic_algorithms_enabled():
                raise RuntimeError("vague_backward does not have a deterministic implementation")
            return x

    def vague():
        return nn.Sequential(nn.Flatten(), nn.Linear(72, CLASSES), Vague())

    with pytest.raises(ConfigError, match="vague_backward does not have a deterministic"):
        engine(vague)
    assert not torch.are_deterministic_algorithms_enabled()
    with exact():
        assert torch.are_deterministic_algorithms_enabled()


def test_deterministic_algorithms_do_not_load_the_compiler_of_torch(monkeypatch):
    """It takes a second of each start and 70 MB of each rank."""
    monkeypatch.setitem(sys.modules, "torch._inductor.config", None)
    with exact():
        assert torch.get_deterministic_debug_mode() == 2  # errors


@pytest.mark.parametrize(
    ("ranks", "count", "wanted"),
    [(1, 1, [0]), (4, 4, [0, 1, 2, 3]), (8, 4, [0, 0, 1, 1, 2, 2, 3, 3]), (3, 2, [0, 0, 1]),
     (2, 4, [0, 2]), (4, 1, [0, 0, 0, 0])],
)  # fmt: skip
def test_ranks_of_a_node_are_spread_over_its_gpus(ranks, count, wanted):
    assert [gpu_of(rank, ranks, count) for rank in range(ranks)] == wanted


def test_the_gpus_are_those_of_the_environment_or_of_slurm():
    slurm = {"SLURM_STEP_GPUS": "2,3", "SLURM_JOB_GPUS": "0,2,3"}
    for given, wanted in (({}, None), (slurm, "2,3"), (slurm | {VISIBLE: "1"}, "1")):
        environ = dict(given)
        gpus_of_job(environ)
        assert environ.get(VISIBLE) == wanted and "CUBLAS_WORKSPACE_CONFIG" in environ
    assert device_for("auto", 0, 1) == device_for("cpu", 0, 1) == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"run.device = 'cuda': torch .*device = 'cpu'"):
            device_for("cuda", 0, 1)


def test_a_device_without_enough_memory_names_the_chunk_that_would_fit(monkeypatch):
    made = engine(chain, chunk=64)

    def full(*args):
        raise torch.OutOfMemoryError("Tried to allocate 2 GiB")

    plain, samples = made.networks.whole.backend.plain, made.data.samples
    held, x = samples.x.nbytes + samples.y.nbytes, np.ones((1, *SHAPE), np.float32)
    needed = device_memory(plain, made.layout, x, made.data, held)
    assert needed.each > 4 * made.layout.size * 4 and needed.of(3) - needed.of(2) == needed.each
    monkeypatch.setattr(Chunk, "step", full)
    monkeypatch.setattr(engines, "device_bytes", lambda device: needed.of(40))
    with pytest.raises(FedmpiError, match=r"run.chunk = 64: .* run.chunk = 32 would fit"):
        trained(made, [1])


def test_the_memory_of_a_step_is_what_its_tensors_take():
    """One linear layer: weights, inputs and outputs of each client are counted once."""
    with Peak() as peak:
        held = torch.zeros(1000)
        torch.zeros(500) + 1
        assert peak.now == 4000 and peak.most == 8000
        view = held[:10]
    assert view is not None and peak.now == 4000


@pytest.mark.parametrize("run", [{"device": "cuda", "engine": "torch"}, {"precision": "bfloat16"}])
def test_other_engines_refuse_devices_and_precisions(run):
    with pytest.raises(ValueError, match="is for cpu and float32; use 'batched'"):
        Config(run=run)
    Config(run=run | {"engine": "batched"})


@pytest.mark.parametrize(
    ("macs", "selected", "device", "wanted"),
    [(400_000, 100, "cpu", 16), (400_000, 100, "cuda:0", 128), (400_000, 10_000, "cuda:0", 256),
     (6_000_000, 100, "cuda:0", 64), (556_000_000, 100, "cuda:0", 16)],
)  # fmt: skip
def test_the_width_of_a_chunk_follows_the_model_and_not_the_machine(
    macs, selected, device, wanted
):
    layout = SimpleNamespace(layers=[SimpleNamespace(macs=macs)])
    assert width_of(layout, 32, selected, device) == wanted
