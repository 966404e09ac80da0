"""Stale reports of methods with a state of their own: SCAFFOLD and DPF."""

import numpy as np

from tests.algorithms.problem import trained
from tests.round.test_flights import simulation


def test_a_stale_client_of_scaffold_moves_the_control_by_all_of_its_change():
    """The control is the mean of all clients' controls, also after stale reports."""
    run = simulation(algorithm={"name": "scaffold"})
    stale = False
    for round in range(8):
        stale |= (run.cohorts._flying["version"] < round).any()
        run.round()
        memories, total = run.memories, run.state["control"]
        kept = [memories[client].get("control", 0 * total) for client in range(12)]
        np.testing.assert_allclose(total, np.mean(kept, axis=0), rtol=0, atol=1e-6)
    assert stale


def test_a_stale_report_of_dpf_moves_the_dense_weights_from_those_that_were_sent():
    run, sent = simulation(algorithm={"name": "dpf", "start": 0.5}), {}
    seen = 0
    for round in range(6):
        sent[round], dense = run.state, run.state["dense"]
        began = dict(zip(run.cohorts._flying["client"], run.cohorts._flying["version"]))
        row, expected = run.round(), np.zeros(dense.size)
        shares = row.clients["samples"] / row.clients["samples"].sum()
        for client, share in zip(row.clients["client"].tolist(), shares, strict=True):
            version = int(began.get(client, round))
            _, report = trained(run.experiment, sent[version], version, client)
            factor = np.float32((1.0 + round - version) ** -0.5)
            moved = dense + factor * (report.weights - sent[version]["dense"])
            expected += share * moved
            seen += version < round and not np.array_equal(dense, sent[version]["weights"])
        np.testing.assert_allclose(run.state["dense"], expected, rtol=0, atol=1e-6)
    assert seen
