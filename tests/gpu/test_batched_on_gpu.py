"""The batched engine on a GPU: every mechanism, and the same bits for any ranks on its device.

Left out where no GPU is; `make test-gpu` runs them and fails without one.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedmpi.learn.batched.width import width_of
from fedmpi.learn.engine import OnDevice
from fedmpi.learn.engines import engine_for
from fedmpi.record import reader
from tests.learn import test_any_model as anything
from tests.learn import test_batched as batched
from tests.learn import test_batched_models as models
from tests.learn import test_mechanisms as mechanisms

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
GPU = OnDevice(device="cuda:0", chunk=3)
CONFIG = """
[run]
rounds = 3
seed = 7
device = "cuda"
chunk = 4
[data]
name = "digits"
partition = "dirichlet"
[clients]
number = 12
per_round = 7
batch_size = 16
[model]
name = "{model}"
[optimizer]
momentum = 0.9
"""


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("mechanism", [*mechanisms.PLANS, *mechanisms.TOGETHER])
def test_a_gpu_does_what_the_debug_engine_does(mechanism, optimizer):
    momentum, lr = (0.5, 0.1) if optimizer == "sgd" else (0.0, 1e-3)
    local = replace(mechanisms.LOCAL, optimizer=optimizer, momentum=momentum, lr=lr)
    mine = mechanisms.engine("batched", local=local, on=GPU)
    debug = mechanisms.engine("debug", local=local)
    asked = (mechanisms.PLANS | mechanisms.TOGETHER)[mechanism](mine.layout)
    plan = mechanisms.plan_of(mine.layout, **asked)
    mechanisms.compare(mechanisms.reports(mine, plan), mechanisms.reports(debug, plan))


@pytest.mark.parametrize("build", [mechanisms.chain, mechanisms.groups, batched.mlp])
def test_the_bits_of_a_client_do_not_depend_on_its_slot(build):
    made = batched.engine(build, device="cuda:0", chunk=3)
    first = batched.trained(made, range(12))
    for order in (range(11, -1, -1), [5], [3, 9, 1, 5, 7, 11, 0, 2]):
        for client, report in batched.trained(made, order).items():
            np.testing.assert_array_equal(report.weights, first[client].weights)
            assert report.loss == first[client].loss


@pytest.mark.parametrize("loss", [name for name in models.CASES if "summed" not in name])
def test_every_loss_is_minimised_as_the_debug_engine_does(loss):
    debug = models.engine("debug", loss)
    build, x, _ = models.CASES[loss]
    mine = engine_for(lambda options: build(), x[:1], debug.data, "batched", on=GPU)
    assert mine.facts["stacked"]
    plan, jobs = mechanisms.plan_of(mine.layout), [(client, 1) for client in range(4)]
    found, wanted = (mechanisms.reports(made, plan, jobs) for made in (mine, debug))
    mechanisms.compare(found, wanted)


@pytest.mark.parametrize("kind", ["dropout", "encoder"])
def test_random_numbers_do_not_depend_on_the_slot_and_the_generators_stay(kind):
    data, x = anything.engine("torch", lambda: anything.seeded(kind)).data, anything.SAMPLE
    made = engine_for(lambda options: anything.seeded(kind), x, data, "batched", on=GPU)
    torch.cuda.manual_seed(5)
    before = torch.get_rng_state(), torch.cuda.get_rng_state("cuda:0")
    first = anything.reports(made)
    again = anything.reports(made, ((1, 0), (0, 5), (0, 2)))
    assert torch.equal(before[0], torch.get_rng_state())
    assert torch.equal(before[1], torch.cuda.get_rng_state("cuda:0"))
    assert [again[2].weights.tobytes(), again[0].weights.tobytes()] == [
        report.weights.tobytes() for report in first
    ]
    assert again[1].loss != again[2].loss and not made.facts["stacked"]


@pytest.mark.parametrize("model", ["lenet5", "mlp", "resnet20"])
def test_one_rank_and_two_that_share_the_device_give_one_hash(run_fedmpi, tmp_path, model):
    (tmp_path / "exp.toml").write_text(CONFIG.format(model=model))
    hashes = set()
    beside = Path(sys.executable).with_name("mpiexec")
    there = beside.exists() or shutil.which("mpiexec")
    for ranks in (None, 2) if there else (None, None):
        done = run_fedmpi("run", "exp.toml", "-o", "a.h5", "--overwrite", ranks=ranks)
        assert done.returncode == 0, done.stderr
        with reader.open(tmp_path / "a.h5") as run:
            hashes.add(run.weights_sha256)
            assert run.provenance["engine"]["device"] == torch.cuda.get_device_name(0)
    assert len(hashes) == 1


def test_the_width_is_one_that_the_device_holds():
    made = batched.engine(mechanisms.chain, device="cuda:0")
    assert made.chunk == width_of(made.layout, 7, 1, "cuda:0")
