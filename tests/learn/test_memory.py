"""Memory of training, measured in a process of its own: it depends only on the widest batch."""

import numba
import pytest

from tests.conftest import COMPILED

START = """
from types import SimpleNamespace
import numpy as np
import torch
from fedmpi.kernels import warmup
from fedmpi.learn.models import build
from fedmpi.resident import resident
torch.set_num_threads(1)
"""

WIDTHS = """
from fedmpi.learn.fast.kernel_gradients import KernelGradients
from fedmpi.learn.layout_of import layout_of
module = build("resnet20", (3, 32, 32), 10, {}, 0)
layout = layout_of(module, np.zeros((1, 3, 32, 32), np.float32))
warmup.warm()
x, y = np.ones((128, 3, 32, 32), np.float32), np.zeros(128, np.int64)
before = resident()
found = KernelGradients.of(module, layout, (3, 32, 32), batch_size=128)
for size in (5, 128, 80, 1):
    found.gradient(found.weights, x[:size], y[:size], found.grad)
print((resident() - before) / 1e6)
"""

LARGE_CLIENT = """
from fedmpi.exchange import Job
from fedmpi.layout import Support
from fedmpi.learn.engine import ClientData
from fedmpi.learn.engines import engine_for
from fedmpi.learn.local import Local
from fedmpi.learn.partitions.partition import Partition
from fedmpi.learn.sample_arrays import Samples
from fedmpi.plan import Plan
N = 50_000
images = np.full((N, 3, 32, 32), 7, np.uint8)
samples = Samples(images, np.zeros(N, np.uint8), (0.5,) * 3, (0.25,) * 3)
local = Local(None, 3, 32, "sgd", 0.01, 1.0, 0.9, 0.0)
data = ClientData(samples, Partition(np.arange(N), np.array([0, N])), local, 0)
make = lambda options: build("fedskel-cifar", (3, 32, 32), 10, options, 0)
engine = engine_for(make, samples.take(np.zeros(1, np.int64))[0], data, "ENGINE")
whole = Support.all(engine.layout)
statistics = ("columns",) if engine.name == "kernels" else ()
plans = Plan(whole, whole, steps=1), Plan(whole, whole, statistics=statistics)
job = lambda plan: Job(0, 0, {"weights": engine.initial_weights}, plan, 1.0)
next(engine.train([job(plans[0])]))  # loads what is compiled
before = resident()
report = next(engine.train([job(plans[1])]))
if statistics:
    engine.accuracy(0, engine.initial_weights)
assert (report.samples, report.steps) == (N, 3)
print((resident() - before) / 1e6)
"""


def grown(run_python, program):
    """Return by how many megabytes the process of `program` has grown."""
    done = run_python("-c", START + program, **COMPILED)
    assert (done.returncode, done.stderr) == (0, "")
    return float(done.stdout)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NUMBA_DISABLE_JIT=1: would take hours")
def test_batches_of_all_widths_share_one_buffer(run_python):
    # ResNet-20 at batch 128 takes 289 MB; a buffer for each width would take 483 MB.
    assert 250 < grown(run_python, WIDTHS) < 330


@pytest.mark.parametrize(
    "engine", ["torch", "debug"] if numba.config.DISABLE_JIT else ["kernels", "torch", "debug"]
)
def test_a_client_is_read_batch_by_batch(run_python, engine):
    # All of it as float32 is 614 MB, a block of the 500 that are evaluated together 6 MB.
    assert grown(run_python, LARGE_CLIENT.replace("ENGINE", engine)) < 60
