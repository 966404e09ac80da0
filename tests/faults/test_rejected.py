"""Clients whose training fails: rejected and recorded, alike for any number of ranks."""

import numpy as np
import pytest

import fedmpi
from fedmpi.errors import RejectedError
from fedmpi.record import checkpoint, schema
from tests.cli.test_run import contents, equal
from tests.faults.job import Job, run_here, write_config
from tests.faults.own import chosen

REJECTED = schema.CLIENT_STATUS.index("rejected")
ROUNDS = 6


def run(folder, algorithm, *overrides, out="out.h5", **how):
    """Run, or resume, in this process; return the path of the result."""
    run_here(folder / out, algorithm, overrides, ROUNDS, **how)
    return folder / out


@pytest.mark.parametrize("algorithm", ["Nan", "Raises"])
def test_the_round_goes_on_with_the_others(tmp_path, algorithm):
    with fedmpi.open(run(tmp_path, algorithm)) as result:
        clients, rounds = result.clients, result.rounds
        bad = chosen(clients.round, clients.client)
        assert 0 < bad.sum() < bad.size / 2
        np.testing.assert_array_equal(clients.status == REJECTED, bad)
        np.testing.assert_array_equal(
            rounds.clients_completed, np.bincount(clients.round[~bad], minlength=ROUNDS)
        )
        assert (rounds.clients_selected == 6).all() and np.isfinite(rounds.train_loss).all()
        assert all(np.isfinite(tensor).all() for tensor in result.model().values())
        # One that raised has sent nothing; one that sent nonsense has sent it.
        assert (clients.bytes_up[bad] == 0).all() == (algorithm == "Raises")
        assert (clients.bytes_down > 0).all()
        events = [e for e in result.events if e["kind"] == "rejected"]
        for event in events:
            names = clients.client[bad & (clients.round == event["round"] - 1)].tolist()
            assert ", ".join(map(str, names)) in event["text"]
        assert len(events) == np.unique(clients.round[bad]).size


def test_what_the_rejected_sent_is_not_in_the_model(tmp_path):
    """A round takes the mean over the other clients, as if these had not been drawn."""
    with fedmpi.open(run(tmp_path, "Nan")) as one, \
            fedmpi.open(run(tmp_path, "Raises", out="other.h5")) as other:
        assert one.weights_sha256 == other.weights_sha256


def test_the_same_on_two_ranks(tmp_path, starts):
    write_config(tmp_path, rounds=ROUNDS, algorithm="Raises")
    words = ["run", tmp_path / "exp.toml", "-o", tmp_path / "two.h5", "--quiet"]
    with Job(tmp_path, *words, ranks=2, program=starts.words()) as job:
        assert job.end() == 0, job.text()
    equal(contents(tmp_path / "two.h5"), contents(run(tmp_path, "Raises")))


def test_too_many_end_the_run_with_everything_kept(tmp_path):
    words = r"round 2: of 6 clients 6 rejected \([\d, ]+: nothing works any more\)"
    with pytest.raises(RejectedError, match=words) as caught:
        run(tmp_path, "AllFail")
    assert "clients.max_rejected = 0.5" in str(caught.value)
    out = tmp_path / "out.h5"
    with fedmpi.open(out) as result:
        assert result.status == "failed" and len(result.rounds) == 2
        assert result.events[-1]["kind"] == "rejected" and "round 2" in result.events[-1]["text"]
    assert checkpoint.read(checkpoint.path_of(out)).facts["next_round"] == 2
    run(tmp_path, "AllFail", "clients.max_rejected=1.0", resume=True)
    with fedmpi.open(out) as result:
        assert result.status == "finished" and len(result.rounds) == ROUNDS
        assert np.isnan(result.rounds.train_loss[2:]).all()
        model = result.model()
    with fedmpi.open(run(tmp_path, "Plain", "run.rounds=2", out="two.h5")) as two:
        for name, tensor in two.model().items():  # no client reported, so no weight moved
            np.testing.assert_array_equal(model[name], tensor)


def test_too_many_on_two_ranks_are_told_once(tmp_path, starts):
    write_config(tmp_path, rounds=ROUNDS, algorithm="AllFail")
    words = ["run", tmp_path / "exp.toml", "-o", tmp_path / "out.h5", "--quiet"]
    with Job(tmp_path, *words, ranks=2, program=starts.words()) as job:
        assert job.end() == 1
        assert job.text().count("round 2: of 6 clients 6 rejected") == 1, job.text()
        assert "Traceback" not in job.text()


def test_a_fault_of_the_program_is_none_of_a_client(tmp_path):
    with pytest.raises(KeyError, match="a key that nobody has"):
        run(tmp_path, "Breaks")
