"""A real Slurm on this machine, and jobs in it."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from tests.conftest import ROOT

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
# Partitions that `main` preempts by cancelling and by suspending, which needs GANG; short arrays; a
# scheduler that looks every second.
MORE = """\
MaxArraySize=4
PreemptMode=REQUEUE,GANG
SchedulerTimeSlice=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PartitionName=cancel Nodes=ALL PriorityTier=1 PreemptMode=CANCEL DefaultTime=10
PartitionName=suspend Nodes=ALL PriorityTier=1 PreemptMode=SUSPEND DefaultTime=10
"""
# MPICH sends an address of UCX, up to 8 KiB, in pieces of 1 KiB. Slurm's PMI2 refuses a piece now
# and then, and says so in the job's output. Such a job never starts.
PMI_LOSES = "mpi/pmi2: (invalid client request|value not properly terminated)"
ENDS = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")


def missing():
    """Return the reason why no real Slurm can start here, "" if there is none."""
    script = cluster_script()
    if not (script and script.is_file()):
        return f"{script or 'FEDMPI_SLURM'}: no script that starts a Slurm; FEDMPI_SLURM names it"
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])
    absent = [name for name in NEEDED if not shutil.which(name, path=path)]
    if absent:
        return f"{', '.join(absent)} not installed (apt: munge slurmctld slurmd slurm-client)"
    try:
        distribution("mpich")
    except PackageNotFoundError:
        return "the environment has no MPICH wheel, which srun --mpi=pmi2 starts everywhere"
    return ""


def cluster_script():
    """Return the path of the script `cluster`: FEDMPI_SLURM, or beside the data sets."""
    if named := os.environ.get("FEDMPI_SLURM"):
        return Path(named)
    data = os.environ.get("FEDMPI_DATA")
    return Path(data).parent / "slurm/cluster" if data else None


@pytest.fixture(scope="session")
def cluster():
    """Return a Slurm of two nodes that ends with the tests; skip without one, but fail in CI."""
    if reason := missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    folder = tempfile.mkdtemp(prefix="fs", dir="/tmp")  # Slurm's sockets need a short path
    words = [str(cluster_script())]
    where = ["--dir", f"{folder}/c"]
    conf = Path(folder, "more.conf")
    conf.write_text(MORE)
    soon = ["--kill-wait", "2"]  # seconds, of which Slurm takes 30
    done = subprocess.run([*words, "up", *where, "--conf", conf, *soon], capture_output=True,
                          text=True, timeout=120)
    if done.returncode:
        pytest.fail(f"the cluster did not come up: {done.stderr}")
    yield Cluster(f"{folder}/c")
    subprocess.run([*words, "down", *where], capture_output=True, timeout=120)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_job_is_left(request):
    """Cancel the jobs that a test leaves: they would keep nodes from the next test."""
    cluster = request.getfixturevalue("cluster") if "cluster" in request.fixturenames else None
    yield
    if cluster:
        cluster.clear()


class Cluster:
    """A running Slurm, and its commands."""

    def __init__(self, folder):
        job = re.compile("SLURM_|SBATCH_|FEDMPI_RANKS")
        self.env = {k: v for k, v in os.environ.items() if not job.match(k)} | {
            "SLURM_CONF": f"{folder}/slurm.conf",
            "PYTHONPATH": str(ROOT),
            "HYDRA_IFACE": "lo",  # the nodes share one address
            "MPIR_CVAR_CH4_NETMOD": "ofi",  # whose addresses are short: see PMI_LOSES
            "FI_PROVIDER": "tcp",
            "FI_TCP_IFACE": "lo",  # or a link that another program makes, and soon removes
            "UCX_NET_DEVICES": "lo",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def run(self, *words, check=True, timeout=120, **options):
        """Run a command of Slurm or of fedmpi; return its output."""
        done = subprocess.run([str(word) for word in words], env=self.env, timeout=timeout,
                              text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, **options)
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def fedmpi(self, *words, **options):
        """Run `fedmpi words` on the machine that submits."""
        return self.run(sys.executable, "-m", "fedmpi", *words, **options)

    def submit(self, *words, **options):
        """Run `fedmpi submit` or `sweep --submit`; return the job's number."""
        text = self.fedmpi(*words, **options)
        return re.search(r"submitted as (?:job|array) (\d+)", text)[1]

    def show(self, job, key):
        """Return one value that Slurm keeps of a job, of the first task of an array."""
        text = self.run("scontrol", "-o", "show", "job", job)
        return re.search(rf"\b{key}=(\S*)", text)[1]

    def wait(self, job, *states, timeout=150, log=None):
        """Wait until a job is in one of `states`; fail when it ends in another."""
        end = time.monotonic() + timeout
        while True:
            state = self.show(job, "JobState")
            if state in states:
                return state
            text = log.read_text() if log and log.exists() else ""
            lost = re.search(PMI_LOSES, text)
            in_time = time.monotonic() < end
            assert state not in ENDS and in_time and not lost, f"{job} is {state}\n{text}"
            time.sleep(0.1)

    def clear(self):
        """Cancel all jobs, and wait until they have left the nodes."""
        end = time.monotonic() + 60
        while self.run("squeue", "--noheader") and time.monotonic() < end:
            self.run("scancel", "--me", check=False)
            time.sleep(0.2)
