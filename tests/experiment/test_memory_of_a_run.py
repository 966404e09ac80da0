"""Memory of a run, measured in a process of its own: rounds and clients leave nothing behind."""

import pytest

from tests.conftest import COMPILED

RUN = """
import sys
from pathlib import Path
from fedmpi.comm.base import Serial
from fedmpi.experiment.execute import Start, execute
from fedmpi.experiment.resolve import resolve
from fedmpi.experiment.stop import NoSignals
from fedmpi.resident import resident

seen = []

def after(row, rounds):
    seen.append(resident() / 1e6)

given = resolve(Path("exp.toml").read_text(), "exp.toml", sys.argv[1:])
execute(given, Serial(), Start(out=Path("out.h5"), overwrite=True), after, NoSignals())
print(*seen)
"""
CONFIG = """
[run]
memory_mb = 4
eval_every = 50
checkpoint_share = 1  # the first checkpoint takes memory once: always at round 10
[data]
name = "patterns"
images = 2000
side = 28
[clients]
number = 1000
local_steps = 1
batch_size = 8
[model]
name = "mlp"
hidden = [128]
[optimizer]
lr = 1e-3
"""
# The first keeps less than the second.
METHODS = [pytest.param("fedavg", marks=pytest.mark.soak), "topk"]
COHORTS = [("topk", 200), *(pytest.param(name, 1000, marks=pytest.mark.soak)
                            for name in ("fedavg", "topk"))]  # fmt: skip


def resident(run_python, tmp_path, algorithm, rounds, cohort):
    """Return the megabytes of a run's process after each of its rounds."""
    (tmp_path / "exp.toml").write_text(CONFIG)
    (tmp_path / "run.py").write_text(RUN)
    keys = f"algorithm.name={algorithm}", f"run.rounds={rounds}", f"clients.per_round={cohort}"
    done = run_python("run.py", *keys, timeout=600, **COMPILED)
    assert done.returncode == 0, done.stderr
    return [float(number) for number in done.stdout.split()]


@pytest.mark.parametrize("algorithm", METHODS)
def test_memory_does_not_grow_with_the_rounds(run_python, tmp_path, algorithm):
    """topk keeps 400 KB for each client that it has met; more memories are on the disk."""
    seen = resident(run_python, tmp_path, algorithm, 100, 5)
    assert len(seen) == 100 and max(seen[40:]) - max(seen[:40]) < 5, seen[::10]


@pytest.mark.parametrize(("algorithm", "cohort"), COHORTS)
def test_memory_does_not_grow_with_the_cohort(run_python, tmp_path, algorithm, cohort):
    """Hundreds of clients a round take hardly more than 10, though each sends 100,000 numbers.

    200 that were kept would take 80 MB. `make soak` has 1,000 in a round.
    """
    few, many = (max(resident(run_python, tmp_path, algorithm, 2, size)) for size in (10, cohort))
    assert many - few < 15, (few, many)
