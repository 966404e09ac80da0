"""What an experiment is said to cost is what its first round then costs."""

import pytest

from fedmpi.experiment.estimate import estimate
from fedmpi.experiment.resolve import of_tree
from tests.round.test_loop import TREE, simulation


@pytest.mark.parametrize("name", ["fedavg", "fedlp", "fedskel"])
def test_the_estimate_is_the_first_round(name):
    algorithm = {"name": name}
    costs = estimate(of_tree(TREE | {"algorithm": algorithm}), None)
    columns = simulation(algorithm=algorithm).round().columns
    for column in ("bytes_down", "bytes_up", "flops"):
        assert costs[column] == columns[column], column
    assert costs["virtual_seconds"] == pytest.approx(columns["virtual_time"])
