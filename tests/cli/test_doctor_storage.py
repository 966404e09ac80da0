"""The doctor on too little shared memory, and on bad places for results and kernels."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedmpi.cli import diagnosis, facts
from fedmpi.comm.base import Serial
from fedmpi.config import RunSection
from fedmpi.doctor import cores, storage
from fedmpi.errors import counted
from tests.cli.test_doctor import finding
from tests.conftest import ROOT, SOON

MIB = 1 << 20


@pytest.fixture
def mounted():
    """Return run(words, *mounts): with file systems that only this command sees; needs root."""
    can = shutil.which("unshare") and not subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
    ).returncode
    if not can:
        pytest.skip("no right to mount here (needs root, or CAP_SYS_ADMIN)")

    def run(words, mounts):
        shell = f"{mounts} && exec \"$@\""
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        env.pop("NUMBA_CACHE_DIR", None)  # a command chooses its own folder
        return subprocess.run(
            ["unshare", "--mount", "bash", "-c", shell, "bash", sys.executable, *words],
            env=env, capture_output=True, text=True, timeout=SOON, cwd="/tmp",
        )

    return run


@pytest.mark.parametrize(("size", "level"), [("64m", "wrong"), ("200m", "note"), ("1g", "ok")])
def test_shared_memory_too_small_for_real(mounted, size, level):
    """Docker gives 64 MiB, too little for four ranks on MNIST."""
    done = mounted(["-m", "fedmpi", "doctor"], f"mount -t tmpfs -o size={size} tmpfs /dev/shm")
    found, text = finding(done, "shm")
    assert found == level, text
    assert (done.returncode == 1) == (level == "wrong"), done.stdout
    assert ("remount" in text) == (level != "ok")


def test_a_cache_that_cannot_be_written_for_real(mounted, tmp_path):
    folder = tmp_path / "kernels"
    words = ["-c", "import os, sys; os.environ['NUMBA_CACHE_DIR'] = sys.argv.pop(); "
             "from fedmpi.cli import main; sys.exit(main(['doctor']))", str(folder / "a")]
    done = mounted(words, f"mkdir {folder} && mount -t tmpfs -o ro tmpfs {folder}")
    level, text = finding(done, "cache")
    assert (done.returncode, level) == (1, "wrong")
    assert "unset NUMBA_CACHE_DIR" in text


def test_the_command_that_makes_a_folder_can_be_typed():
    found = storage.results(Path("/home/a/it's $new"), False, False)
    assert shlex.split(found.remedy) == ["mkdir", "-p", "/home/a/it's $new"]
    assert storage.results(Path("/a/b"), False, False).remedy == "mkdir -p /a/b"


# To mount a network file system one needs its server; so the system's table is changed instead.
REMOTE = (
    "sed 's# {0} [a-z0-9]*# {0} nfs4#' /proc/self/mounts >{1} && mount --bind {1} /proc/$$/mounts"
)


def test_results_and_kernels_on_a_network_file_system(mounted, tmp_path):
    on_nfs = f"mount -t tmpfs tmpfs {tmp_path} && " + REMOTE.format(tmp_path, tmp_path / "mounts")
    words = ["-m", "fedmpi", "doctor", "-o", str(tmp_path / "out.h5")]
    done = mounted(words, on_nfs)
    level, text = finding(done, "hdf5")
    assert (done.returncode, level) == (0, "note"), done.stdout + done.stderr
    assert f"{tmp_path} is on nfs4" in text and "export HDF5_USE_FILE_LOCKING=FALSE" in text
    done = mounted(words, f"{on_nfs} && export HDF5_USE_FILE_LOCKING=FALSE")
    assert finding(done, "hdf5")[0] == "ok"
    done = mounted(words, f"{on_nfs} && export TMPDIR={tmp_path}")
    level, text = finding(done, "cache")
    assert (done.returncode, level) == (1, "wrong")
    assert "is on nfs4" in text and "export TMPDIR=" in text
    done = mounted(words, f"{on_nfs} && export NUMBA_CACHE_DIR={tmp_path}")
    assert "unset NUMBA_CACHE_DIR" in finding(done, "cache")[1]


def test_a_folder_for_results_that_is_not_there_or_read_only(mounted, run_fedmpi, tmp_path):
    done = run_fedmpi("doctor", "-o", tmp_path / "none" / "out.h5")
    level, text = finding(done, "results")
    assert (done.returncode, level) == (1, "wrong") and f"-> mkdir -p {tmp_path}/none" in text
    (tmp_path / "a.h5").touch()
    for below in ("b.h5", "c/b.h5"):  # mkdir would fail too
        level, text = finding(run_fedmpi("doctor", "-o", tmp_path / "a.h5" / below), "results")
        assert level == "wrong" and f"{tmp_path}/a.h5 is a file" in text and "mkdir" not in text
    done = mounted(["-m", "fedmpi", "doctor", "-o", str(tmp_path)],
                   f"mount -t tmpfs -o ro tmpfs {tmp_path}")
    level, text = finding(done, "results")
    assert (done.returncode, level) == (1, "wrong") and "cannot be written" in text


MOUNTS = """\
rootfs / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
fs1:/home /home nfs4 rw 0 0
mds:/lustre /scratch\\040big lustre rw 0 0
tmpfs /home/me/local tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "ext4"), ("/home/me/a", "nfs4"), ("/home", "nfs4"), ("/homes/a", "ext4"),
     ("/scratch big/a", "lustre"), ("/home/me/local/x", "tmpfs")],
)
def test_the_file_system_is_that_of_the_longest_mount(path, kind):
    assert storage.file_system(path, MOUNTS) == kind
    assert storage.remote(kind) == (kind in ("nfs4", "lustre"))


def test_results_and_caches_on_network_file_systems():
    found = storage.locking({}, "/home/me", MOUNTS)
    assert found.level == "note" and found.remedy == "export HDF5_USE_FILE_LOCKING=FALSE"
    off = {"HDF5_USE_FILE_LOCKING": "FALSE"}
    assert storage.locking(off, "/home/me", MOUNTS).level == "ok"
    assert storage.locking({}, "/tmp", MOUNTS).level == "ok"
    assert storage.cache({}, "/home/me", MOUNTS, True).level == "wrong"
    assert "TMPDIR" in storage.cache({}, "/home/me", MOUNTS, True).remedy
    assert storage.cache({}, "/tmp/a", MOUNTS, True).level == "ok"
    assert storage.environment("/home/me/venv", MOUNTS, 1, 64).level == "ok"
    assert storage.environment("/tmp/venv", MOUNTS, 8, 512).level == "ok"
    found = storage.environment("/home/me/venv", MOUNTS, 8, 16)
    assert found.level == "note" and "is on nfs4: 16 ranks on 8 nodes" in found.value
    found = storage.environment("/home/me/venv", MOUNTS, 1, 65)
    assert found.level == "note" and "is on nfs4: 65 ranks read" in found.value


def test_shared_memory_that_is_not_there():
    assert storage.shared_memory("/dev/shm", None, 1).level == "wrong"
    levels = [storage.shared_memory("/dev/shm", n * MIB, 4).level for n in (95, 96, 287, 288)]
    assert levels == ["wrong", "note", "note", "ok"]


def test_a_system_without_shared_memory_and_control_groups(monkeypatch, tmp_path):
    monkeypatch.setattr(diagnosis, "SHARED", str(tmp_path / "shm"))
    monkeypatch.setattr(diagnosis, "CGROUP", str(tmp_path / "cgroup"))
    found = diagnosis._node(tmp_path, RunSection(), Serial())
    (shm,) = (one for one in found if one and one.what == "shm")
    assert (shm.level, shm.value) == ("wrong", f"{tmp_path}/shm cannot be used")


@pytest.mark.parametrize(("table", "kind", "found"), [
    ("tmpfs /dev tmpfs rw 0 0\n", "nfs\n", "nfs"),
    ("tmpfs /dev tmpfs rw 0 0\n", "ext2/ext3\n", "ext2/ext3"),
    ("tmpfs /dev tmpfs rw 0 0\n/dev/sda / ext4 rw 0 0\n", "nfs\n", "ext4"),
    ("tmpfs /dev tmpfs rw 0 0\n", "UNKNOWN (0x123)\n", "a file system of unknown type"),
    ("", "", "a file system of unknown type"),
])
def test_the_root_of_a_chroot_is_asked_for_itself(monkeypatch, table, kind, found):
    monkeypatch.setattr(facts, "text", lambda path: table)
    monkeypatch.setattr(facts, "output", lambda *words: kind)
    assert storage.file_system("/home/a", facts.mounts()) == found
    assert storage.file_system("/dev/shm", facts.mounts()) == ("tmpfs" if table else found)
    line = storage.locking({}, "/home/a", facts.mounts()).line()
    assert f"/home/a is on {found}" in line and ("-> export" in line) == (found == "nfs")


def test_this_machine_knows_its_root(monkeypatch):
    monkeypatch.setattr(facts, "text", lambda path: "")
    assert facts.mounts().startswith("chroot / ")


@pytest.mark.parametrize(("given", "threads"), [
    ("4,2", 4), (" 3 ", 3), ("\u00b2", 1), ("abc", 1), ("0", 1), ("", 1),
])  # fmt: skip
def test_threads_are_the_first_of_a_list_of_openmp(given, threads):
    found = cores.threads_fit({"OMP_NUM_THREADS": given}, 1, 2)
    assert f"1 rank x {counted(threads, 'thread')} on 2 cores" == found.value
    assert ("export OMP_NUM_THREADS=2" in found.line()) == (threads > 2)
