"""A model that one rank sends to another: the same bits, and no torch where it arrives."""

from dataclasses import replace

import numpy as np
import pytest

from fedmpi.learn.fast.kernel_gradients import KernelGradients
from fedmpi.learn.fast.serialise import deserialised, serialised
from fedmpi.learn.gates import gated
from fedmpi.learn.layout_of import layout_of
from fedmpi.learn.models import build
from fedmpi.plan import Gates
from tests.conftest import COMPILED

MODELS = {  # every kind of step is in one of them
    "lenet5": (1, 28, 28),
    "resnet20": (3, 32, 32),
    "fedlp-cnn": (3, 32, 32),
    "mlp": (64,),
}
GATED = "lenet5"
RECEIVER = """
import sys
import numpy as np
from fedmpi.learn.fast.serialise import deserialised
from fedmpi.experiment import assemble
found = dict(np.load(sys.argv[1]))
x = found.pop("x")
out = deserialised(found, 8).outputs(found["weights"], x)
np.save(sys.argv[2], out)
print("torch" in sys.modules)
"""


def built(name):
    sample = np.zeros((1, *MODELS[name]), np.float32)
    options = {"hidden": [16], "activation": "tanh"} if name == "mlp" else {}
    module = build(name, MODELS[name], 10, options, 3)
    if name == GATED:
        module = gated(module, Gates(0.6, squash=True), 3)
    found = KernelGradients.of(module, layout_of(module, sample), MODELS[name], 8)
    return found, found.weights.copy()


@pytest.mark.parametrize("name", MODELS)
def test_who_gets_it_computes_the_same_bits(name):
    one, first = built(name)
    one.layout = replace(one.layout, tail=5, uncounted=("a layer",))
    other = deserialised(serialised(one, first), 8)
    assert other.layout == one.layout and other.chain[0] is not one.chain[0]
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, *MODELS[name]), np.float32), rng.integers(0, 10, 5)
    losses, grads = [], np.zeros((2, first.size), np.float32)
    for gradients, grad in zip((one, other), grads, strict=True):
        weights = first.copy()
        losses.append(gradients.gradient(weights, x, y, grad))
    assert losses[0] == losses[1] and grads[0].any()
    np.testing.assert_array_equal(*grads)


def test_who_gets_it_never_imports_torch(tmp_path, run_python):
    one, first = built("lenet5")
    x = np.random.default_rng(1).standard_normal((3, 1, 28, 28)).astype(np.float32)
    np.savez(tmp_path / "sent.npz", x=x, **serialised(one, first))
    said = run_python("-c", RECEIVER, str(tmp_path / "sent.npz"), str(tmp_path / "out.npy"),
                      **COMPILED)
    assert said.stdout.strip() == "False"
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), one.outputs(first, x))
