"""The bits that runs end with, recorded: a change of structure must leave every one of them.

The engine of the kernels gives the same bits on all x86 processors. A change that is meant to
alter the arithmetic of a method records new values with `python tests/test_hashes.py`, and says
so in the change log.
"""

import sys
import tempfile
from pathlib import Path

import numba
import pytest

import fedmpi

ALGORITHMS = {
    "fedavg": {},
    "fedprox": {"mu": 0.1},
    "fedskel": {"ratio": 0.25},
    "fedlp": {"p": 0.5},
    "feddip": {"every": 2},
    "scaffold": {},
    "fednova": {},
    "topk": {"share": 0.05},
    "heterofl": {},
}
# Five rounds, so that convolutions and pooling are seen; at this rate LeNet-5 hardly learns.
LENET5 = {
    "run": {"rounds": 5, "seed": 7, "trainer": "numba"},
    "data": {"name": "digits", "partition": "dirichlet", "alpha": 0.5},
    "clients": {"number": 8, "per_round": 4, "local_epochs": 1, "batch_size": 32},
    "model": {"name": "lenet5"},
    "optimizer": {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4},
}
# Twelve rounds of a network that learns.
MLP = {
    "run": {"rounds": 12, "seed": 7, "trainer": "numba"},
    "data": {"name": "digits", "partition": "dirichlet", "alpha": 0.5},
    "clients": {"number": 8, "per_round": 4, "local_epochs": 2, "batch_size": 16},
    "model": {"name": "mlp", "hidden": [32, 24]},
    "optimizer": {"lr": 0.1, "momentum": 0.5, "weight_decay": 1e-4},
}
TREES = {"lenet5": LENET5, "mlp": MLP}

# Of each network and method: weights_sha256, right answers of the 360 test samples at the end,
# and the bytes of all rounds, up and down.
RECORDED = {
    ("lenet5", "fedavg"): (
        "5db6deba69e4d3071a0227e96c9c184dc838e51c00bdbd08a8b2e43ea9c26603", 36, 1582240, 1582240,
    ),
    ("lenet5", "fedprox"): (
        "aed852e51fe5b550393fc8514566c9c37ab6779a56fb26ea51c8d096df92d4f8", 36, 1582240, 1582240,
    ),
    ("lenet5", "fedskel"): (
        "68f36e109dccb9e2684632c1dbf6cef9b310315f48c4e4ae36a16e67d7d8be9b", 92, 902128, 902320,
    ),
    ("lenet5", "fedlp"): (
        "3cb7238a1e04b7f0cdc0a1bf2131da2f873fc5161c5826d4972f22b45723acf9", 36, 842848, 1582240,
    ),
    ("lenet5", "feddip"): (
        "39d8a1b4cc4e8a7f3133201045d2838437a82385a4da289b5748b11a29d4b8bf", 36, 1582240, 798336,
    ),
    ("lenet5", "scaffold"): (
        "ae58b7148038c252bcf15a3947a939bb40f115b84bdae06207259ce774e93c17", 36, 3164480, 3164480,
    ),
    ("lenet5", "fednova"): (
        "b1f8f98367b76f16d07986e15a38d5027b1df855c3915b9ab92a3ff2ae65047d", 48, 1582240, 1582240,
    ),
    ("lenet5", "topk"): (
        "7dc417ef9a2563e974697da71a5f6b46c2f13899d0c8250c3b2e92d3db3ec8ff", 38, 101168, 1582240,
    ),
    ("lenet5", "heterofl"): (
        "6e9532b4370a6d3351f1a24d756cefded41fcc5735a5f6c4bd0e8ed84ea3c11f", 24, 275216, 275216,
    ),
    ("mlp", "fedavg"): (
        "30d90972f0e63db607224f4d3ff8e236b64d27436609ec065bd598ebef55495c", 348, 604032, 604032,
    ),
    ("mlp", "fedprox"): (
        "6f8d834c73554c7305dd90f3e3b00549ed3f087d84507c25c80bda110b275767", 345, 604032, 604032,
    ),
    ("mlp", "fedskel"): (
        "bf3725fdb840763c978f4dc4acdd64d374d22ee05cef88947b9413653340bca0", 340, 328832, 328832,
    ),
    ("mlp", "fedlp"): (
        "a237a71040926c80a5d3d6c650d9176f09fcc56cf8688973474c9136103a28e6", 299, 305360, 604032,
    ),
    ("mlp", "feddip"): (
        "bf30a04d3c59f700f33e8234f04d4631bdf7c4d9a366e8a35308735e6c201573", 338, 604032, 216720,
    ),
    ("mlp", "scaffold"): (
        "4611752af6f7a48920d13ccc3c055445edc1b4e10e627663e8689b7ca29fde75", 338, 1208064, 1208064,
    ),
    ("mlp", "fednova"): (
        "a11acb2cb5607d6249bc7e78d73ffeafd6452de431b61072a97bb2d27f28e3c7", 345, 604032, 604032,
    ),
    ("mlp", "topk"): (
        "57cae2c27aaf1d37a6e3958ed84b48174355e680fca43e8b5e60058838864583", 340, 42400, 604032,
    ),
    ("mlp", "heterofl"): (
        "13c1c8afee7b9e1548a3eb77d7affbe754ec164112efb22e52c9cc00aceff2dc", 242, 166924, 166924,
    ),
}  # fmt: skip


def found(network, name, folder):
    """Run a method on a network; return its values in the form of RECORDED."""
    tree = TREES[network] | {"algorithm": {"name": name, **ALGORITHMS[name]}}
    if name == "scaffold":  # its control variates are of plain steps
        tree |= {"optimizer": tree["optimizer"] | {"momentum": 0.0}}
    run = fedmpi.run(tree, out=Path(folder) / "out.h5")
    right = round(float(run.rounds["test_accuracy"][-1]) * 360)
    rounds = run.rounds
    return run.weights_sha256, right, int(rounds.bytes_up.sum()), int(rounds.bytes_down.sum())


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="takes minutes without the compiler")
@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("network", TREES)
def test_a_run_ends_with_the_recorded_bits(network, name, tmp_path):
    assert found(network, name, tmp_path) == RECORDED[network, name]


def record():
    """Write the present values of the runs, as lines of RECORDED, to standard output."""
    for network, name in ((network, name) for network in TREES for name in ALGORITHMS):
        with tempfile.TemporaryDirectory() as folder:
            sha, *numbers = found(network, name, folder)
        values = f'"{sha}", {", ".join(map(str, numbers))}'
        sys.stdout.write(f'    ("{network}", "{name}"): (\n        {values},\n    ),\n')


if __name__ == "__main__":
    record()
