"""A base from a .safetensors file."""

import numpy as np
import pytest
import torch

import fedmpi
from fedmpi.errors import ConfigError, DataError
from fedmpi.learn.base_weights import load_base
from fedmpi.learn.models import build

safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")


def mlp():
    return build("mlp", (64,), 10, {"hidden": (6,)}, 0)


@pytest.fixture
def base(tmp_path):
    """Return a file with the first layer of an MLP, in half precision."""
    path = tmp_path / "base.safetensors"
    weight = torch.arange(384, dtype=torch.float16).reshape(6, 64) / 512
    safetensors.save_file({"fc1.weight": weight}, path)
    return path


def test_what_the_file_holds_is_set_and_all_else_stays(base):
    module, other = mlp(), mlp()
    load_base(module, str(base))
    assert np.array_equal(module.fc1.weight.detach().ravel() * 512, np.arange(384))
    for name in ("fc1.bias", "fc2.weight", "fc2.bias"):
        assert torch.equal(module.get_parameter(name), other.get_parameter(name))


def test_a_run_trains_adapters_on_it(base, tmp_path):
    adapter = {"rank": 2, "targets": ["fc1"], "trained": ["fc2.*"]}
    tree = {
        "run": {"rounds": 2},
        "clients": {"number": 4},
        "model": {"name": "mlp", "hidden": [6], "base": str(base), "adapter": adapter},
    }
    found = fedmpi.run(tree, out=tmp_path / "a.h5")
    assert set(found.model()) == {"fc1.down.weight", "fc1.up.weight", "fc2.weight", "fc2.bias"}
    assert found.config["model"]["adapter"]["rank"] == 2
    safetensors.save_file({"fc1.weight": torch.ones(6, 64)}, base)
    with pytest.raises(fedmpi.errors.ResultError, match=r"frozen weights .* then, .* now"):
        fedmpi.resume(tmp_path / "a.h5", ["run.rounds=3"])


FAULTS = {
    "the model has no fc9.weight; did you mean": {"fc9.weight": torch.ones(6, 64)},
    r"fc1.weight has shape \[6, 8\], in the model \[6, 64\]": {"fc1.weight": torch.ones(6, 8)},
    "holds no tensors": {},
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_file_of_another_model_is_told(message, base):
    safetensors.save_file(FAULTS[message], base)
    with pytest.raises(ConfigError, match=message):
        load_base(mlp(), str(base))


def test_a_damaged_or_missing_file_is_told(base):
    whole = base.read_bytes()
    for content in (whole[:-1], whole[:20], b"", b"\xff" * 64):
        base.write_bytes(content)
        with pytest.raises(DataError, match=r"model.base = .*: cannot be read"):
            load_base(mlp(), str(base))
    base.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_base(mlp(), str(base))
