"""Skeletonization on the kernels, beside torch."""

import numba
import numpy as np
import pytest

from tests.algorithms.test_skeletonization import central


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NUMBA_DISABLE_JIT=1: it would take long")
@pytest.mark.parametrize("keys", [
    ["model.hidden=[6, 5]", "model.activation=relu"],
    ["model.hidden=[6]", "algorithm.outputs=sigmoid", "algorithm.error=quadratic"],
])  # fmt: skip
def test_the_kernels_train_measure_and_trim_as_torch_does(keys):
    """In each of eight rounds, half of which measure, and then in a smaller network."""
    ran = []
    for name in ("torch", "kernels"):
        how = [f"run.engine={name}", "run.rounds=8", "algorithm.criterion=100", *keys]
        ran.append(central(*how))
        assert ran[-1].experiment.engine.name == name
    one, other = (simulation.state for simulation in ran)
    assert (one["units"] == 0).sum() > 2 and np.array_equal(one["units"], other["units"])
    np.testing.assert_allclose(other["relevance"], one["relevance"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(other["weights"], one["weights"], rtol=1e-3, atol=1e-4)
