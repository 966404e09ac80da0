"""A run inside another root file system, with the launcher and the MPI of this machine."""

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from fedmpi.record import reader
from tests.cli.test_run import contents, equal
from tests.conftest import ROOT
from tests.jobs.test_slurm import CONFIG


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return the folder of a root file system with fedmpi, and no MPI of its own."""
    if named := os.environ.get("FEDMPI_ROOTFS"):
        return Path(named)
    if not os.environ.get("FEDMPI_SOAK"):
        pytest.skip("takes minutes; make soak runs it, or FEDMPI_ROOTFS names a root file system")
    folder = tmp_path_factory.mktemp("root")
    subprocess.run(["bash", ROOT / "jobs/container/rootfs.sh", folder], check=True, timeout=1200)
    return folder


def test_two_ranks_on_two_nodes_join_through_the_mpi_of_the_host(cluster, root, tmp_path):
    (tmp_path / "exp.toml").write_text(CONFIG)
    library = Path(sysconfig.get_path("data")) / "lib"
    enter = tmp_path / "enter.sh"  # as a container's runtime does for --bind
    enter.write_text(f"""#!/bin/bash
set -e
exec unshare --mount bash -c '
    mkdir -p {root}/host/mpi {root}/host/work
    mount --bind {library} {root}/host/mpi
    mount --bind {tmp_path} {root}/host/work
    mount -t proc proc {root}/proc
    mount --rbind /dev {root}/dev
    mount --rbind /sys {root}/sys
    export LD_LIBRARY_PATH=/host/mpi MPI4PY_LIBMPI=/host/mpi/libmpi.so.12 PYTHONPATH=/opt/fedmpi
    exec chroot {root} /usr/bin/python3 -m fedmpi "$@"' enter "$@"
""")
    words = ["run", "/host/work/exp.toml", "-o", "/host/work/inside.h5", "--quiet"]
    cluster.run("srun", "-N2", "-n2", "--mpi=pmi2", "bash", enter, *words, timeout=600)
    cluster.fedmpi("run", tmp_path / "exp.toml", "-o", tmp_path / "outside.h5", "--quiet")
    equal(contents(tmp_path / "inside.h5"), contents(tmp_path / "outside.h5"))
    with reader.open(tmp_path / "inside.h5") as run:
        assert run.ranks == 2 and len(set(run.provenance["hosts"])) == 2
        assert "MPICH" in run.provenance["mpi"]
