"""Real jobs on a real Slurm: after any disturbance they end with the undisturbed result."""

import os
import re
import signal
import time
from contextlib import suppress
from types import SimpleNamespace

import psutil
import pytest

from fedmpi.record import checkpoint, reader
from tests.cli.test_run import contents, equal
from tests.conftest import SOON
from tests.jobs.conftest import ENDS, PMI_LOSES

pytestmark = pytest.mark.flaky(reruns=3, only_rerun=PMI_LOSES)

CONFIG = """
[run]
name = "disturbed"
rounds = 160
eval_every = 40
checkpoint_every = 5
[clients]
number = 20
per_round = 6
local_steps = 2
batch_size = 16
"""
TWO_NODES = ["--nodes", "2", "--tasks-per-node", "1", "--time", "10"]


@pytest.fixture(scope="module")
def undisturbed(cluster, tmp_path_factory):
    """Return the configuration, and the contents of its undisturbed result."""
    folder = tmp_path_factory.mktemp("undisturbed")
    config = folder / "exp.toml"
    config.write_text(CONFIG)
    cluster.fedmpi("run", config, "-o", folder / "a.h5")
    return SimpleNamespace(config=config, contents=contents(folder / "a.h5"))


@pytest.fixture
def job(cluster, tmp_path):
    """Return start(*words): a job on two nodes, in the midst of its rounds when it returns.

    It stays there for half a minute, or until `go` is called.
    """
    out, config, go = tmp_path / "a.h5", tmp_path / "exp.toml", tmp_path / "go"
    config.write_text(f'{CONFIG}[algorithm]\nname = "tests.jobs.paced:Paced"\ngo = "{go}"\n')

    def start(*words):
        number = cluster.submit("submit", config, "-o", out, *TWO_NODES, *words)
        wait_for_rounds(cluster, number, out)
        return number

    return SimpleNamespace(start=start, go=go.touch, config=config, out=out,
                           log=out.with_suffix(".log"))


def wait_for_rounds(cluster, number, out, rounds=3):
    """Wait until a job has written some rounds; it must still run then."""
    end, log = time.monotonic() + 150, out.with_suffix(".log")
    while True:
        alive = cluster.show(number, "JobState") not in ENDS and time.monotonic() < end
        assert alive, log.read_text() if log.exists() else f"job {number} did not start"
        if out.exists():
            with reader.open(out) as run:
                assert run.status == "running", run.status
                if len(run.rounds) >= rounds:
                    return
        time.sleep(0.1)


def finished(job, undisturbed):
    """Check that a job went on in mid-run, to the undisturbed result; return its events' kinds."""
    equal(contents(job.out), undisturbed.contents)
    with reader.open(job.out) as run:
        assert run.status == "finished"
        first = re.search(r"from round (\d+) ", " ".join(event["text"] for event in run.events))
        assert int(first[1]) < len(run.rounds)
        return [event["kind"] for event in run.events]


def test_four_ranks_on_two_nodes(cluster, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setitem(cluster.env, "MPIR_CVAR_CH4_NETMOD", "ucx")  # or MPI_Finalize would fail
    out = tmp_path / "a.h5"
    text = cluster.fedmpi("submit", undisturbed.config, "-o", out, "--nodes", 2,
                          "--tasks-per-node", 2, "--time", "0:10:00")
    number = re.search(r"submitted as job (\d+)\n", text)[1]
    assert f"squeue --jobs={number}" in text and f"fedmpi watch {out}" in text
    cluster.wait(number, "COMPLETED", log=out.with_suffix(".log"))
    equal(contents(out), undisturbed.contents)
    with reader.open(out) as run:
        assert run.provenance["slurm_job_id"] == number
        assert run.ranks == len(run.provenance["hosts"]) == 4


def test_preempted_in_mid_run(cluster, job, undisturbed):
    number = job.start("--partition", "low")
    preempt(cluster)
    job.go()
    cluster.wait(number, "COMPLETED", log=job.log)
    assert cluster.show(number, "Restarts") == "1"
    # On a busy machine Slurm may kill it before its checkpoint; that must not matter either.
    assert finished(job, undisturbed)[-1] == "resume"


def preempt(cluster):
    """Run a short job that takes both nodes from a partition of lower priority."""
    other = cluster.run("sbatch", "--parsable", "-N2", "--exclusive", "-o/dev/null", "--wrap=true")
    cluster.wait(other.strip(), "COMPLETED")


def test_preempted_by_a_partition_that_cancels(cluster, job, undisturbed):
    """Slurm does not requeue it, so it submits the job that follows it."""
    number, end = job.start("--partition", "cancel"), time.monotonic() + 2 * SOON
    preempt(cluster)
    cluster.wait(number, "PREEMPTED", log=job.log)
    while not (again := re.search(r"submitted again as job (\d+)", job.log.read_text())):
        assert time.monotonic() < end, job.log.read_text()
    text = cluster.fedmpi("submit", job.config, "-o", job.out, "--resume", "--allow-code",
                          check=False)
    assert f"job {again[1]}, which is queued or runs, writes it" in text
    job.go()
    cluster.wait(again[1], "COMPLETED", log=job.log)
    assert finished(job, undisturbed)[-1] == "resume"


def test_preempted_by_a_partition_that_suspends(cluster, job, undisturbed):
    number = job.start("--partition", "suspend")
    preempt(cluster)
    assert cluster.show(number, "SuspendTime") != "None"
    job.go()
    cluster.wait(number, "COMPLETED", log=job.log)
    equal(contents(job.out), undisturbed.contents)
    assert cluster.show(number, "Restarts") == "0"


def test_told_of_its_time_limit(cluster, job, undisturbed):
    """The signal that --signal=B:USR1@120 gives; a real limit takes a minute or more."""
    number = job.start()
    cluster.run("scancel", "--signal=USR1", "--batch", number)
    cluster.wait(number, "PENDING", log=job.log)
    assert "ended with 75" in job.log.read_text()
    with reader.open(job.out) as run:
        assert run.status == "stopped"
        assert checkpoint.read(checkpoint.path_of(job.out)).facts["next_round"] == len(run.rounds)
    job.go()
    cluster.wait(number, "COMPLETED", log=job.log)
    assert cluster.show(number, "Restarts") == "1"
    assert finished(job, undisturbed) == ["stopped", "resume"]


def test_its_node_goes_down(cluster, job, undisturbed):
    number = job.start()
    cluster.run("scontrol", "update", "NodeName=node2", "State=DOWN", "Reason=test")
    try:
        cluster.wait(number, "PENDING", log=job.log)
    finally:
        bring_back(cluster, "node2")
    job.go()
    cluster.wait(number, "COMPLETED", log=job.log)
    assert cluster.show(number, "Restarts") == "1"
    assert finished(job, undisturbed)[-1] == "resume"


def bring_back(cluster, node):
    """Resume a node, which is refused while it still cleans up after a job."""
    end = time.monotonic() + 30
    while f"{node} idle" not in cluster.run("sinfo", "-hN", "-pmain", "-o%N %t"):
        assert time.monotonic() < end, f"{node} did not come back"
        cluster.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
        time.sleep(0.3)


def test_cancelled_stays_cancelled_until_submitted_again(cluster, job, undisturbed):
    number = job.start()
    cluster.run("scancel", number)
    cluster.wait(number, "CANCELLED", log=job.log)
    job.go()
    text = cluster.fedmpi("submit", job.config, "-o", job.out, *TWO_NODES, check=False)
    assert "exists" in text and "submitted" not in text
    again = cluster.submit("submit", job.config, "-o", job.out, *TWO_NODES,
                           "--resume", "--allow-code")
    cluster.wait(again, "COMPLETED", log=job.log)
    assert cluster.show(number, "JobState") == "CANCELLED"
    assert finished(job, undisturbed)[-1] == "resume"


def test_a_failing_job_does_not_come_back(cluster, undisturbed, tmp_path):
    out = tmp_path / "a.h5"
    absent = ["--set", "data.name=mnist", "--set", "data.root=/nonesuch"]
    number = cluster.submit("submit", undisturbed.config, "-o", out, *TWO_NODES, *absent)
    assert cluster.wait(number, "FAILED", log=out.with_suffix(".log"))
    assert cluster.show(number, "Restarts") == "0"
    assert "/nonesuch" in out.with_suffix(".log").read_text()


def test_a_rank_that_dies_ends_the_job_which_can_go_on(cluster, job, undisturbed):
    """A killed rank leaves its shared memory; the job comes back under the same number."""
    number = job.start()
    os.kill(rank_on(number, "1"), signal.SIGKILL)
    cluster.wait(number, "FAILED", timeout=SOON, log=job.log)
    job.go()
    cluster.run("scontrol", "requeue", number)
    time.sleep(1)  # for one moment more it is still the failed one
    cluster.wait(number, "COMPLETED", log=job.log)
    assert finished(job, undisturbed)[-1] == "resume"


def rank_on(number, node):
    """Return the process id of the rank of a job on its node number `node`."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environ = process.environ()
            rank = environ.get("SLURM_JOB_ID") == number and environ.get("SLURM_NODEID") == node
            if rank and "fedmpi" in process.cmdline():
                return process.pid
    raise AssertionError(f"job {number} has no rank on node {node}")


def test_a_sweep_as_an_array_and_its_comparison(cluster, undisturbed, tmp_path):
    (tmp_path / "sweep.toml").write_text(
        f'base = "{undisturbed.config}"\nseeds = [0, 1]\nset.run.rounds = 3\n'
        '[grid]\nalgorithm.name = ["fedavg", "fedprox"]\n'
    )
    words = ["sweep", "sweep.toml", "-o", "points", "--submit", "--nodes", "1", "--parallel", "2",
             "--tasks-per-node", "2", "--time", "10"]
    jobs = re.findall(r"submitted as array (\d+)", cluster.fedmpi(*words, cwd=tmp_path))
    cluster.run("srun", "-n1", f"--dependency=afterany:{':'.join(jobs)}", "true")
    files = sorted((tmp_path / "points").glob("*.h5"))
    assert [file.name for file in files] == [
        f"name={name}_seed={seed}.h5" for name in ("fedavg", "fedprox") for seed in (0, 1)
    ], cluster.run("bash", "-c", f"cat {tmp_path}/points/*.log")
    text = cluster.fedmpi("compare", *files)
    for name in ("fedavg", "fedprox"):
        assert re.search(rf"^name={name} +2 ", text, re.MULTILINE), text
    assert "4 points, 0 not finished" in cluster.fedmpi(*words, cwd=tmp_path)


def test_many_points_on_a_node_and_more_than_an_array_may_have(cluster, undisturbed, tmp_path):
    """Ten points, two on a node at once, in arrays of three tasks at most; one of them fails."""
    bad = '[[cases]]\nname = "bad"\ndata = {name = "mnist", root = "/nonesuch"}\n'
    (tmp_path / "sweep.toml").write_text(
        f'base = "{undisturbed.config}"\nseeds = [0, 1, 2, 3, 4]\nset.run.rounds = 2\n'
        f'{bad}[[cases]]\nname = "good"\n'
    )
    words = ["sweep", "sweep.toml", "-o", "p", "--submit", "--pack", "2", "--time", "10"]
    text = cluster.fedmpi(*words, "--sbatch=--hold", cwd=tmp_path)
    jobs = re.findall(r"submitted as array (\d+): (\d) points", text)
    assert [int(count) for _, count in jobs] == [6, 4]
    assert "10 of them wait or run already" in cluster.fedmpi(*words, cwd=tmp_path)
    cluster.run("scontrol", "release", *(job for job, _ in jobs))
    after = ":".join(job for job, _ in jobs)
    cluster.run("srun", "-n1", f"--dependency=afterany:{after}", "true")
    logs = cluster.run("bash", "-c", f"cat {tmp_path}/p/*.log")
    for seed in range(5):
        with reader.open(tmp_path / f"p/good_seed={seed}.h5") as run:
            assert (run.status, run.ranks) == ("finished", 1), logs
        assert "/nonesuch" in (tmp_path / f"p/bad_seed={seed}.log").read_text()
    assert "10 points, 5 not finished" in cluster.fedmpi(*words, "--dry-run", cwd=tmp_path)


@pytest.mark.soak
def test_the_real_time_limit(cluster, job, undisturbed):
    """Slurm looks at limits every 30 s, so its signal may come that much too early."""
    words = ["--nodes", "2", "--tasks-per-node", "1", "--time", "1", "--set", "algorithm.pace=1"]
    number = cluster.submit("submit", job.config, "-o", job.out, *words)
    assert "--signal=B:USR1@30" in (job.out.with_suffix(".job") / "job.slurm").read_text()
    cluster.wait(number, "PENDING", log=job.log)
    while cluster.show(number, "Restarts") == "0":  # it has not begun, rather than come back
        cluster.wait(number, "RUNNING", log=job.log)
        cluster.wait(number, "PENDING", log=job.log)
    job.go()
    cluster.wait(number, "COMPLETED", log=job.log)
    equal(contents(job.out), undisturbed.contents)
    assert "ended with 75" in job.log.read_text()


def test_a_node_that_stands_still_is_named_by_another(cluster, job, undisturbed):
    number = job.start("--set", "run.watch_s=3")
    rank = rank_on(number, "1")
    time.sleep(2)  # until the nodes have heard of each other
    os.kill(rank, signal.SIGSTOP)
    try:
        end = time.monotonic() + 30
        while not re.search(r"no rank on \S+ has moved for .* \(rank 1\)", job.log.read_text()):
            assert time.monotonic() < end, job.log.read_text()
            time.sleep(0.1)
    finally:
        os.kill(rank, signal.SIGCONT)
    job.go()
    cluster.wait(number, "COMPLETED", log=job.log)
    equal(contents(job.out), undisturbed.contents)
    with reader.open(job.out) as run:
        warnings = [event["text"] for event in run.events if event["kind"] == "warning"]
    assert any("no rank on" in text for text in warnings)
