"""The arms of the sparse kernels: they run, they are compared, torch selects the same."""

import numpy as np

from fedmpi import kernels
from fedmpi.bench import kernels_sparse
from fedmpi.bench.arms import rows
from fedmpi.learn import eager


def test_torch_does_what_feedback_does(rng):
    update, residual = rng.standard_normal((2, 50_000)).astype(np.float32)
    indices, picked = np.empty(500, np.uint32), np.empty(500, np.float32)
    left = residual.copy()
    kernels.select.feedback(update, left, indices, picked)
    chosen, values = eager.feedback(update, residual, 500)
    order = np.argsort(chosen)
    np.testing.assert_array_equal(chosen[order], indices)
    np.testing.assert_array_equal(values[order], picked)
    np.testing.assert_array_equal(residual, left)


def test_every_arm_gives_a_row_and_every_format_a_bar():
    arms = kernels_sparse.every(20_000, eager.feedback)
    found = rows(arms, repeats=1)
    assert [row.name for row in found] == [arm.name for arm in arms]
    assert all(row.ns > 0 and row.gigabytes > 0 and row.floor > 0 for row in found)
    promised = {bar.name for bar in kernels_sparse.bars(found)}
    assert "feedback: ns per element" in promised
    for name in ("dense", "rows", "runs", "packed", "bitmap", "idx16", "idx32", "varint"):
        assert any(bar.startswith(f"{name} encode") for bar in promised)
