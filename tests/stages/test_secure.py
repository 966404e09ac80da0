"""Masks of secure aggregation: they cancel exactly, hide each value, and count in bytes."""

import numpy as np
import pytest

from fedmpi.errors import ConfigError, FedmpiError
from fedmpi.round.loop import Simulation
from fedmpi.round.status import COMPLETED, DROPPED, LATE
from fedmpi.stages.secure import Secure
from tests.stages.test_stages import TREE, assemble_tree, same_bits, simulation, stage, weights_of

SECURE = {"name": "secure", "neighbours": 4}
LOSSY = {
    "clients": {"number": 12, "per_round": 10},
    "devices": {
        "profile": "tiers", "dropout": 0.1,
        "tiers": [
            {"name": name, "share": share, "gflop_s": 1.0, "up_mbit_s": up, "down_mbit_s": 30.0}
            for name, share, up in (("slow", 0.15, 0.1), ("fast", 0.85, 10.0))
        ],
    },
    "schedule": {"mode": "deadline", "deadline_s": 0.27},
    "run": {"rounds": 6},
}
MANY = SECURE | {"neighbours": 8}


@pytest.mark.parametrize(
    ("algorithm", "before"), [("fedavg", []), ("scaffold", [{"name": "quantise", "bits": 8}])]
)
def test_the_weights_are_the_same_bits_though_clients_are_late_and_lost(algorithm, before):
    """The second run has messages of the same length, so the same clients are late."""
    hidden, rows = simulation(algorithm, [*before, MANY], **LOSSY)
    unmasked = {"name": "tests.stages.test_secure:Long"}
    plain, same = simulation(algorithm, [*before, unmasked], **LOSSY)
    for row, other in zip(rows, same, strict=True):
        assert row.clients["status"].tolist() == other.clients["status"].tolist()
    seen = np.concatenate([row.clients["status"] for row in rows])
    assert set(seen.tolist()) == {COMPLETED, LATE, DROPPED}
    assert same_bits(weights_of(hidden), weights_of(plain))


class Long(Secure):
    """Messages as long as masked ones, without masks."""

    def seal(self, sums, round, client, cohort):
        pass

    def unseal(self, sums, round, cohort, completed):
        pass

    class Keys(Secure.Keys):
        neighbours: int = 8


def test_until_they_are_taken_off_masks_hide_the_sum(monkeypatch):
    made, comm, stop = assemble_tree(TREE | {"stage": (MANY,)} | LOSSY)
    run, seen = Simulation(made, comm, stop), []
    found = made.stages[0]
    unseal = found.unseal
    monkeypatch.setattr(
        type(found), "unseal",
        lambda self, sums, *told: (seen.append(sums["weights"].sum.copy()), unseal(sums, *told),
                                   seen.append(sums["weights"].sum.copy())),
    )  # fmt: skip
    while len(seen) < 2 or (run.round() and np.array_equal(seen[-1], seen[-2])):
        run.round()
    masked, plain = (np.abs(values.astype(np.float64)) for values in seen[-2:])
    assert plain.max() < 2**48 < 2**61 < np.median(masked)


def test_its_bytes_are_those_of_the_protocol():
    whole, rows = simulation(run={"rounds": 1})
    _, masked = simulation(stages=[SECURE], run={"rounds": 1})
    size = whole.experiment.layout.size
    one, other = rows[0].clients, masked[0].clients
    assert (other["bytes_down"] - one["bytes_down"] == 4 * (2 * 32 + 2 * 32 + 28)).all()
    up = 4 * size + 2 * 32 + 4 * (2 * 32 + 28 + 32)
    assert (other["bytes_up"] - one["bytes_up"] == up).all()
    assert (other["seconds_up"] > one["seconds_up"]).all()


def test_each_client_has_its_neighbours_and_they_have_it():
    made, cohort = stage("secure", neighbours=4), np.arange(3, 40, 3)
    beside = {int(client): made._beside(2, int(client), cohort) for client in cohort}
    assert all(len(others) == 4 and client not in others for client, others in beside.items())
    assert all(client in beside[other] for client, others in beside.items() for other in others)
    assert made._beside(0, 3, np.array([3, 6, 9])) == [6, 9]


def test_too_few_neighbours_end_the_run():
    lossy = LOSSY | {"devices": {"dropout": 0.7}, "schedule": {"mode": "sync"}}
    with pytest.raises(FedmpiError, match="too few to rebuild its masks; raise"):
        simulation(stages=[SECURE], **lossy | {"run": {"rounds": 20}})


@pytest.mark.parametrize(
    ("algorithm", "stages", "sections"),
    [
        ("fedskel", [SECURE], {}),
        ("fedavg", [{"name": "topk"}, SECURE], {}),
        ("fedavg", [SECURE], {"run": {"sum": "fast", "rounds": 1}}),
        ("fedavg", [SECURE], {"schedule": {"mode": "async", "buffer_size": 2}}),
        ("fedavg", [SECURE, {"name": "clip"}], {}),
    ],
)
def test_what_it_cannot_hide_is_refused(algorithm, stages, sections):
    with pytest.raises(ConfigError, match=r"stage secure: (the sum of weights|cannot mix|must be)"):
        simulation(algorithm, stages, **sections)
