"""The harness of tests/mpi itself: each failure on any rank is seen, and none hangs others."""

import shutil
import time
from pathlib import Path

import pytest

from tests.conftest import SOON

ROOT = Path(__file__).resolve().parents[1]

PASSES = "def test_a(world):\n    assert world.allreduce(1) == world.size\n"


@pytest.fixture
def run_ranks(tmp_path, run_python):
    """Return run(text, started=2, wanted=2): the tests in `text`, as those of tests/mpi run."""
    shutil.copy(ROOT / "tests/mpi/conftest.py", tmp_path)

    def run(text, started=2, wanted=2):
        (tmp_path / "test_it.py").write_text(f"import pytest, time\n{text}")
        ranks = {"FEDMPI_RANKS": str(wanted)} if started else {}
        ranks |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # as in tests/run.sh
        options = ["-c", ROOT / "setup.cfg", "--rootdir", tmp_path, "-p", "no:cacheprovider",
                   "-p", "pytest_timeout"]
        return run_python(
            "-m", "pytest", *options, tmp_path, ranks=started, timeout=SOON, **ranks
        )

    return run


def test_ranks_that_all_pass_give_one_report(run_ranks):
    done = run_ranks(PASSES)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("1 passed") == 1


def test_another_number_of_ranks_fails(run_ranks):
    done = run_ranks(PASSES, started=2, wanted=3)
    assert done.returncode != 0
    assert "FEDMPI_RANKS=3, but there are 2 ranks" in done.stderr


def test_a_failure_on_rank_1_is_shown_and_frees_the_others(run_ranks):
    began = time.monotonic()
    test = "def test_a(world):\n    assert world.rank != 1, 'odd one'\n    world.Barrier()"
    done = run_ranks(test)
    assert done.returncode != 0
    assert "[rank 1 of 2] test_it.py::test_a failed (call)" in done.stderr
    assert "odd one" in done.stderr
    assert time.monotonic() - began < 15  # the start of Python, and a second


def test_a_file_that_rank_1_cannot_import_fails(run_ranks):
    done = run_ranks("from mpi4py import MPI\n1 / (1 - MPI.COMM_WORLD.rank)\n" + PASSES)
    assert done.returncode != 0
    assert "[rank 1 of 2] test_it.py cannot be collected" in done.stderr


def test_a_hanging_test_is_named_and_ended(run_ranks):
    hangs = "@pytest.mark.timeout(2)\ndef test_a(world):\n    world.rank or world.recv()"
    done = run_ranks(hangs)
    assert done.returncode != 0
    assert "in test_a" in done.stderr
    # It tells MPI: a launcher may overlook a rank that just leaves.
    assert "[rank 0 of 2] a test takes too long" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@pytest.mark.skip\n" + PASSES,
        "@pytest.mark.ranks(3)\n" + PASSES,
        PASSES + "def test_b(world):\n    world.rank or pytest.skip()",
    ],
    ids=["none", "skipped", "more-ranks", "skipped-on-rank-0"],
)
def test_a_session_that_did_not_run_every_test_fails(run_ranks, text):
    done = run_ranks(text)
    assert done.returncode != 0
    assert "not run on every rank" in done.stderr


def test_a_plain_run_collects_nothing(run_ranks):
    done = run_ranks(PASSES, started=None)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
