"""A rank that ends takes the job with it, also where its launcher does not see that it ends."""

import pytest

from tests.conftest import ROOT, SOON
from tests.faults.job import Job, write_config

UNSEEN = ROOT / "tests/faults/unseen.py"
BROKEN = """
import os, sys
from unittest import mock
from fedmpi import cli
from fedmpi.comm import launch, start
if launch.rank_of(os.environ) == 1:
    mock.patch("fedmpi.comm.start.start", side_effect=OSError("a broken node")).start()
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("how", "code"), [("end_all", 130), ("abort", 3), ("_exit", 1)])
def test_a_rank_that_leaves_unseen_by_the_launcher(tmp_path, how, code):
    with Job(tmp_path, how, ranks=2, program=[UNSEEN]) as job:
        assert job.end(SOON) == code
        said = "rank 0 on" in job.text() and "has ended without a word to MPI" in job.text()
    assert said == (how == "_exit")


def test_a_rank_that_fails_before_mpi_starts_does_not_leave_the_others_in_it(tmp_path):
    words = ["run", write_config(tmp_path), "-o", tmp_path / "out.h5", "--quiet"]
    with Job(tmp_path, *words, ranks=2, program=("-c", BROKEN)) as job:
        assert job.end(SOON) == 1
        assert "a broken node" in job.text() and "Traceback" not in job.text()
    assert not (tmp_path / "out.h5").exists()
