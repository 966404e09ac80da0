"""A run killed at any moment leaves a whole file, and can go on."""

import os
import random
import signal
import time

import numpy as np
import pytest

from fedmpi.record import reader, schema
from fedmpi.record.writer import Writer
from tests.conftest import FORK, ROOT, SOON
from tests.record import killed, sample

KILLS = int(os.environ.get("FEDMPI_KILLS", "10"))


def check(path):
    """Assert that all columns hold the same whole rounds; return how many."""
    with reader.open(path) as run:
        rounds = len(run.rounds)
        numbers = np.arange(rounds)
        np.testing.assert_array_equal(run.rounds["round"], numbers)
        np.testing.assert_array_equal(run.rounds["virtual_time"], 10.0 * (numbers + 1))
        np.testing.assert_array_equal(run.clients["round"], np.repeat(numbers, 4))
        np.testing.assert_array_equal(run.clients["client"].reshape(-1, 4)[:, 0], numbers % 3)
        for name in schema.PHASES:
            np.testing.assert_array_equal(run.phases[name], np.repeat(numbers, 2).reshape(-1, 2))
        np.testing.assert_array_equal(run.layers["bytes_up"][:, 1], numbers)
        assert run.status == "running"
        assert run.config == sample.fixed()["resolved"]
    return rounds


@pytest.mark.parametrize(
    ("point", "rounds"), [("copy", 2), ("rows", 2), ("close", 2), ("rename", 2), ("renamed", 3)]
)
def test_killed_inside_a_commit(tmp_path, run_python, point, rounds):
    path = tmp_path / "out.h5"
    done = run_python(ROOT / "tests/record/killed.py", path, point)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert check(path) == rounds
    again = Writer.reopen(path, rounds)
    again.append(*sample.one_round(rounds))
    again.commit()
    assert check(path) == rounds + 1
    assert [p.name for p in tmp_path.iterdir()] == ["out.h5"]


def test_killed_at_random_moments(tmp_path):
    path = tmp_path / "out.h5"
    when = random.Random(1)
    rounds = 0
    for _ in range(KILLS):
        process = FORK.Process(target=killed.main, args=(path, "never"))
        process.start()
        try:
            deadline = time.monotonic() + SOON
            while not (path.exists() and check(path) > rounds):
                assert process.is_alive() and time.monotonic() < deadline
            time.sleep(when.uniform(0, 0.02))
        finally:
            process.kill()
            process.join()
        found = check(path)
        assert found > rounds  # nothing that a reader has seen is lost
        rounds = found
