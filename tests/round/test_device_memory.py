"""Plans beside the memory of the device that trains them."""

import pytest

import fedmpi
from fedmpi.errors import ConfigError
from tests.round.test_loop import TREE, simulation


def test_a_plan_that_a_device_cannot_hold_is_refused():
    assert simulation(devices={"memory_mb": 100.0}).round()
    with pytest.raises(ConfigError, match=r"client \d \(\w+\): training takes [\d.]+ MB of memory"):
        simulation(devices={"memory_mb": 0.001}).round()


@pytest.mark.parametrize(
    ("optimizer", "moments"),
    [({"momentum": 0.0}, 0), ({"momentum": 0.9}, 1), ({"name": "adam"}, 2)],
)
def test_a_device_holds_the_moments_of_the_optimiser(optimizer, moments):
    run = simulation(optimizer=optimizer)
    cost = run.experiment.costs.of(run.experiment.plan(run.state, 0, 0), 0)
    assert cost.memory_mb == 4 * ((2 + moments) * 650 + 2 * 16 * 10) / 1e6


def test_a_device_that_cannot_hold_its_plan_is_refused_before_it_is_selected(tmp_path):
    """The run ended in the round in which the first of these clients was selected."""
    heads = "name,gflop_s,up_mbit_s,down_mbit_s,latency_s,memory_mb\n"
    (tmp_path / "own.csv").write_text(f"{heads}large,1,1,1,0,100\nsmall,1,1,1,0,0.001\n")
    tree = TREE | {"devices": {"profile": str(tmp_path / "own.csv")},
                   "run": TREE["run"] | {"rounds": 1}, "clients": {"number": 9, "per_round": 1}}
    for seed in range(3):
        tree["run"]["seed"] = seed
        with pytest.raises(ConfigError, match=r"\(small\): training takes"):
            fedmpi.run(tree, out=tmp_path / f"{seed}.h5")
