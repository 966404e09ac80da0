"""The batched engine on a pretended GPU: no operation mixes tensors here and there.

tests/gpu has the same on a real one.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedmpi.comm.base import Serial
from fedmpi.experiment.execute import Start, execute
from fedmpi.experiment.resolve import resolve
from fedmpi.experiment.stop import NoSignals
from fedmpi.learn.augment import lines_of
from fedmpi.learn.engine import OnDevice
from fedmpi.learn.engines import engine_for
from fedmpi.record import reader
from tests.learn import test_any_model as anything
from tests.learn import test_batched as batched
from tests.learn import test_mechanisms as mechanisms
from tests.learn.pretended import NAME, pretended

THERE = OnDevice(device=NAME, chunk=3)
CONFIG = """
[run]
rounds = 2
device = "{device}"
engine = "{engine}"
[data]
name = "digits"
[clients]
number = 12
per_round = 5
local_steps = 2
batch_size = 16
[model]
name = "{model}"
[optimizer]
momentum = 0.9
[algorithm]
name = "{algorithm}"
"""


def test_what_a_gpu_refuses_is_refused():
    with pretended():
        there, here = torch.ones(3, 4, device=NAME), torch.ones(3, 4)
        assert there.is_cuda and (2 * there + 1).is_cuda and there[:, torch.tensor([0, 2])].is_cuda
        with pytest.raises(RuntimeError, match="beside those of a GPU"):
            there + here
        with pytest.raises(RuntimeError, match="beside those of a GPU"):
            here[there.to(torch.int64)]
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
        there[1] += 1
        there[:, 0].copy_(here[:, 0] + 2)
        found = there.cpu().numpy()
    np.testing.assert_array_equal(found, [[3, 1, 1, 1], [3, 2, 2, 2], [3, 1, 1, 1]])


CASES = [
    *(pytest.param(name, marks=pytest.mark.soak) for name in mechanisms.PLANS),
    *mechanisms.TOGETHER,
]


@pytest.mark.parametrize("mechanism", CASES)
def test_every_mechanism_stays_on_the_device(mechanism):
    local = replace(mechanisms.LOCAL, optimizer="adam", momentum=0.0, lr=1e-3)
    debug = mechanisms.engine("debug", local=local)
    asked = (mechanisms.PLANS | mechanisms.TOGETHER)[mechanism](debug.layout)
    plan = mechanisms.plan_of(debug.layout, **asked)
    with pretended():
        mine = mechanisms.engine("batched", local=local, on=THERE)
        assert mine.facts["stacked"]
        found = mechanisms.reports(mine, plan)
    mechanisms.compare(found, mechanisms.reports(debug, plan))


def test_images_are_moved_and_normalised_on_the_device():
    how = {"images": True, "augment": lines_of}
    with pretended():
        mine = batched.engine(mechanisms.chain, device=NAME, chunk=3, **how)
        found = batched.trained(mine, range(12))
        outputs = mine.outputs(mine.initial_weights, np.ones((2, *mechanisms.SHAPE), np.float32))
    debug = batched.engine(mechanisms.chain, "debug", **how)
    wanted = batched.trained(debug, range(12))
    mechanisms.compare(found.values(), wanted.values())
    assert outputs.shape == (2, mechanisms.CLASSES)


@pytest.mark.parametrize("kind", ["dropout", "encoder", "gru"])
def test_modules_that_run_for_one_client_after_another(kind):
    data, x = anything.engine("torch", lambda: anything.seeded(kind)).data, anything.SAMPLE
    with pretended():
        made = engine_for(lambda options: anything.seeded(kind), x, data, "batched", on=THERE)
        assert not made.facts["stacked"]
        first, again = anything.reports(made), anything.reports(made, ((1, 0), (0, 2)))
    assert [report.weights.tobytes() for report in first] == [
        report.weights.tobytes() for report in again[::-1]
    ]


RUNS = [
    ("lenet5", "fedskel"), ("mlp", "skeletonization"),
    *(pytest.param(*case, marks=pytest.mark.soak) for case in (
        ("mlp", "fedtiny"), ("mlp", "fedpm"), ("lenet5", "lg-fedavg"), ("lenet5", "scaffold"),
        ("lenet5", "heterofl"), ("mlp", "fedmtl"))),
]  # fmt: skip


@pytest.mark.parametrize(("model", "algorithm"), RUNS)
def test_a_run_on_the_device_is_that_of_the_processor(tmp_path, model, algorithm):
    columns = {}
    for device, engine in (("cuda", "auto"), ("cpu", "torch")):
        words = {"device": device, "engine": engine, "model": model, "algorithm": algorithm}
        given, out = resolve(CONFIG.format(**words), "exp.toml"), tmp_path / f"{device}.h5"
        with pretended():
            execute(given, Serial(), Start(out=out), lambda row, rounds: None, NoSignals())
        with reader.open(out) as run:
            assert run.provenance["engine"]["name"] == {"cuda": "batched"}.get(device, engine)
            columns[device] = {
                name: getattr(run.rounds, name)[:]
                for name in ("test_loss", "train_loss", "bytes_up", "flops")
            }
    for name, found in columns["cuda"].items():
        np.testing.assert_allclose(found, columns["cpu"][name], rtol=1e-4, err_msg=name)
