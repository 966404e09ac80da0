"""A rank that ends also ends the job, even if its launcher does not see that it ended."""

import pytest

from tests.conftest import ROOT, SOON
from tests.faults.job import Job, write_config

UNSEEN = ROOT / "tests/faults/unseen.py"
BROKEN = """
import os, signal, sys, time
from unittest import mock
from fedmpi import cli
from fedmpi.comm import launch, start

def interrupted(*words):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(600)

if launch.rank_of(os.environ) == 1:
    mock.patch("{place}", {what}).start()
sys.exit(cli.main(sys.argv[1:]))
"""
START = {"place": "fedmpi.comm.start.start", "what": "side_effect=OSError('a broken node')"}


@pytest.mark.parametrize(("how", "code"), [("end_all", 130), ("abort", 3), ("_exit", 1)])
def test_a_rank_that_leaves_unseen_by_the_launcher(tmp_path, how, code):
    with Job(tmp_path, how, ranks=2, program=[UNSEEN]) as job:
        assert job.end(SOON) == code
        said = "rank 0 on" in job.text() and "has ended without telling MPI" in job.text()
    assert said == (how == "_exit")


def broken(**what):
    """Return the words of a Python whose command breaks on rank 1, before MPI starts."""
    return "-c", BROKEN.format(**(START | what))


def test_a_rank_that_fails_before_mpi_starts_does_not_leave_the_others_in_it(tmp_path):
    words = ["run", write_config(tmp_path), "-o", tmp_path / "out.h5", "--quiet"]
    with Job(tmp_path, *words, ranks=2, program=broken()) as job:
        assert job.end(SOON) == 1
        assert "a broken node" in job.text() and "Traceback" not in job.text()
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize(("words", "what", "said"), [
    (["bench", "collectives", "--quick"], {}, "a broken node"),
    (["warmup"], {}, "a broken node"),
    (["doctor"], {"place": "fedmpi.cli.facts.launchers"}, "a broken node"),
    (["doctor"], {"place": "fedmpi.cli.facts.version_of", "what": "return_value=None"}, "ok"),
])
def test_nor_does_a_rank_of_a_verb_that_measures_or_checks(tmp_path, words, what, said):
    with Job(tmp_path, *words, ranks=2, program=broken(**what)) as job:
        assert job.end(SOON) == 1
        assert said in job.text() and "Traceback" not in job.text()


@pytest.mark.parametrize("words", [["bench", "collectives"], ["doctor"]])
def test_nor_does_a_rank_that_is_interrupted_before_mpi_starts(tmp_path, words):
    places = {"bench": START["place"], "doctor": "fedmpi.cli.facts.launchers"}
    what = {"place": places[words[0]], "what": "interrupted"}
    with Job(tmp_path, *words, ranks=2, program=broken(**what)) as job:
        assert job.end(SOON) not in (0, None)
        assert "Traceback" not in job.text()


def test_a_file_that_rank_0_alone_cannot_write_is_refused_on_all(tmp_path):
    program = BROKEN.replace("== 1", "== 0").format(
        place="fedmpi.cli.bench_setup._fault_of", what="return_value='no such folder here'")
    words = ["bench", "collectives", "--quick", "--json", tmp_path / "a.json"]
    with Job(tmp_path, *words, ranks=2, program=("-c", program)) as job:
        assert job.end(SOON) == 2
        assert job.text().count("fedmpi: --json no such folder here") == 1


def test_a_configuration_that_one_rank_cannot_read_is_told_once(tmp_path):
    words = ["doctor", write_config(tmp_path)]
    what = "side_effect=ConfigError('not on this node')"
    program = "from fedmpi.errors import ConfigError\n" + broken(
        place="fedmpi.cli.diagnosis.text_of", what=what)[1]
    with Job(tmp_path, *words, ranks=2, program=("-c", program)) as job:
        assert job.end(SOON) == 2
        assert job.text().count("fedmpi: not on this node") == 1
