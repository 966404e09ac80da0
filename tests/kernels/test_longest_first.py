"""Work shared out over ranks, beside its twin."""

import numpy as np
import pytest

from fedmpi.kernels import longest_first
from tests.naive import longest_first as naive


def shared_out(costs, pace, of=longest_first):
    ranks = np.full(len(costs), -1)
    of.share_out(np.argsort(-costs, kind="stable"), costs, pace, ranks)
    return ranks.tolist()


def test_by_hand():
    # 7 | 5 | 4, then 3 to the rank with 4, 3 to that with 5, 2 to that with 7.
    assert shared_out(np.array([7.0, 5, 4, 3, 3, 2]), np.ones(3)) == [0, 1, 2, 2, 1, 0]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7, 64, 300])
@pytest.mark.parametrize("kind", ["equal", "integers", "reals", "zeros"])
def test_equals_its_twin(rng, ranks, kind):
    """Bit for bit, with ties of costs, of ranks and of both."""
    costs = {
        "equal": np.ones(200), "integers": rng.integers(0, 5, 200).astype(float),
        "reals": rng.random(200), "zeros": np.zeros(200),
    }[kind]  # fmt: skip
    for pace in (np.ones(ranks), rng.integers(1, 3, ranks) / 3, rng.random(ranks)):
        assert shared_out(costs, pace) == shared_out(costs, pace, of=naive)
    assert shared_out(costs[:0], np.ones(ranks)) == []
