"""Every end that Python sees is recorded, and a rank that ends also ends the job."""

from pathlib import Path

import pytest

from fedmpi.errors import FedmpiError
from fedmpi.record import reader
from tests.cli.test_run import contents, equal
from tests.conftest import SOON
from tests.faults import own
from tests.faults.job import Job, run_here, write_config
from tests.faults.own import ENDS

ROUNDS = 6


def leaving(how, rank=0):
    """Return overrides of a method that leaves in round 2."""
    return [f"algorithm.how={how}", f"algorithm.rank={rank}"]


@pytest.mark.parametrize("how", ENDS)
def test_whatever_is_raised_the_file_says_why_and_keeps_its_rounds(tmp_path, how, monkeypatch):
    for name in ("PMI_RANK", "OMPI_COMM_WORLD_RANK"):
        monkeypatch.delenv(name, raising=False)
    out = tmp_path / "out.h5"
    with pytest.raises(FedmpiError if how == "SystemExit" else ENDS[how]):
        run_here(out, "Leaves", leaving(how), ROUNDS)
    with reader.open(out) as run:
        assert (run.status, len(run.rounds), run.heartbeat) == ("failed", 2, None)
        assert run.events[-1]["kind"] == "failed"
        assert run.events[-1]["text"] == f"rank 0: {how}: 3 (own.py:{line_of_raise()})"
    assert not list(tmp_path.glob("*.alive")) and not list(tmp_path.glob("*.failed"))
    run_here(out, "Plain", rounds=ROUNDS, overwrite=True)
    assert reader.open(out).status == "finished"


@pytest.mark.parametrize("place", ["message", "remember", "add", "step"])
def test_wherever_it_is_raised(tmp_path, place, monkeypatch):
    for name in ("PMI_RANK", "OMPI_COMM_WORLD_RANK"):
        monkeypatch.delenv(name, raising=False)
    out = tmp_path / "out.h5"
    with pytest.raises(FedmpiError, match="SystemExit: 3"):
        run_here(out, "Leaves", [*leaving("SystemExit"), f"algorithm.place={place}"], 3)
    with reader.open(out) as run:
        assert (run.status, len(run.rounds), run.heartbeat) == ("failed", 2, None)
        assert run.events[-1]["text"].startswith("rank 0: SystemExit: 3 (own.py:")


def line_of_raise():
    """Return the line of own.py that raises."""
    text = Path(own.__file__).read_text()
    return 1 + text[: text.index("raise ENDS")].count("\n")


def test_a_run_that_failed_goes_on_where_its_checkpoint_stands(tmp_path, monkeypatch):
    out, calm = tmp_path / "out.h5", tmp_path / "calm.h5"
    with pytest.raises(KeyError):
        run_here(out, "Leaves", [*leaving("KeyError"), "algorithm.round=4"], ROUNDS)
    monkeypatch.setitem(ENDS, "KeyError", None)  # mended
    run_here(out, resume=True)
    run_here(calm, "Plain", rounds=ROUNDS)
    equal(contents(out), contents(calm))


@pytest.mark.parametrize(("how", "rank", "place"), [
    ("SystemExit", 1, "plan"), ("KeyError", 2, "step"), ("_exit", 0, "plan"),
])
def test_a_rank_that_leaves_takes_the_job_with_it(tmp_path, starts, how, rank, place):
    config = write_config(tmp_path, algorithm="Leaves")
    overrides = [*leaving(how, rank), f"algorithm.place={place}"]
    words = ["run", config, "-o", tmp_path / "out.h5"]
    words += [word for override in overrides for word in ("--set", override)]
    with Job(tmp_path, *words, ranks=max(2, rank + 1), program=starts.words()) as job:
        code = job.end(SOON)
        text = job.text()
    # Of a process that left with 0, MPICH's launcher says no more than that.
    assert code != 0 or how == "_exit", text
    with reader.open(tmp_path / "out.h5") as run:
        if how == "_exit":
            assert run.status == "running"
        else:
            assert (run.status, len(run.rounds)) == ("failed", 2), text
            assert run.events[-1]["text"].startswith(f"rank {rank}: {how}")
            assert f"{how}" in text and "Traceback" not in text


def test_a_rank_that_leaves_a_benchmark_takes_the_job_with_it(tmp_path, starts):
    config = write_config(tmp_path, algorithm="Leaves")
    words = ["bench", "run", config]
    words += [word for override in leaving("KeyError", 1) for word in ("--set", override)]
    with Job(tmp_path, *words, ranks=2, program=starts.words()) as job:
        code = job.end(SOON)
        text = job.text()
    assert code not in (0, None) and "KeyError" in text and "Traceback" not in text, text


@pytest.mark.parametrize(("words", "place", "rank"), [
    (["warmup"], "fedmpi.bench.warm.kernels.warmup.warm", 0),
    (["doctor"], "fedmpi.doctor.processors.described", 1),
])
def test_a_rank_that_leaves_a_check_takes_the_job_with_it(tmp_path, words, place, rank):
    program = f"""
import sys
from unittest import mock
from fedmpi import cli
from fedmpi.comm import launch
import fedmpi.bench.warm, os
if launch.rank_of(os.environ) == {rank}:
    mock.patch("{place}", side_effect=KeyError("gone")).start()
sys.exit(cli.main(sys.argv[1:]))
"""
    with Job(tmp_path, *words, ranks=2, program=("-c", program)) as job:
        code = job.end(SOON)
        text = job.text()
    assert code not in (0, None) and "gone" in text and "Traceback" not in text, text
