"""A run that trained no global model says so at its end, and among its events."""

import numpy as np
import pytest

import fedmpi

EXPERIMENT = {"run": {"rounds": 2}, "clients": {"number": 4, "per_round": 2},
              "model": {"name": "softmax"}}


class Silent(fedmpi.Algorithm):
    """Clients leave out as many of the last layers as `kept` says."""

    level = "layer"

    class Keys(fedmpi.Keys):
        kept: int = 1

    def plan(self, state, round, client):
        layers = self.layout.starts("layer").size - 1
        shared = [layer < layers - self.keys.kept for layer in range(layers)]
        up = fedmpi.Support(self.layout, "layer", np.array(shared))
        return fedmpi.Plan(down=up, up=up)


def test_a_method_whose_clients_send_nothing_is_named(tmp_path):
    """With personal heads, a model of a single layer leaves nothing to share."""
    tree = EXPERIMENT | {"algorithm": {"name": Silent}}
    with pytest.warns(UserWarning, match="no client sent a weight in any round"):
        run = fedmpi.run(tree, out=tmp_path / "out.h5")
    with run:
        (event,) = run.events
        assert event["kind"] == "warning" and "leaves all layers of this model" in event["text"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("algorithm", [{"name": Silent, "kept": 0}, {"name": "fedpm"}])
def test_a_method_whose_clients_send_weights_or_bits_is_not(tmp_path, algorithm):
    with fedmpi.run(EXPERIMENT | {"algorithm": algorithm}, out=tmp_path / "out.h5") as run:
        assert not [event for event in run.events if event["kind"] == "warning"]


def test_absent_clients_have_a_warning_of_their_own(tmp_path):
    tree = EXPERIMENT | {"algorithm": {"name": Silent},
                         "schedule": {"mode": "deadline", "deadline_s": 1e-6}}
    with pytest.warns(UserWarning, match="no client completed a round"):
        fedmpi.run(tree, out=tmp_path / "out.h5").close()
