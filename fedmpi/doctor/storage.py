"""Check shared memory, and the file systems of results, environment and compiled kernels."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from fedmpi.doctor import NOTE, OK, WRONG, Finding

MIB = 1 << 20
MANY = 64  # more ranks than this load a shared file system noticeably when they start
# Measured with MPICH 5: 21 MiB for four ranks, and MNIST needs 45 MiB more on each node.
SHM_LEAST, SHM_RANK, SHM_AMPLE = 64 * MIB, 8 * MIB, 256 * MIB
_REMOTE = (
    "nfs", "lustre", "gpfs", "beegfs", "fhgfs", "cifs", "smb", "ceph", "panfs", "gluster", "afs",
    "9p", "v9fs", "orangefs", "pvfs", "wekafs", "ocfs", "gfs", "vboxsf", "prl_fs", "fuse.sshfs",
    "fuse.gluster", "fuse.ceph", "fuse.juicefs", "fuse.s3fs", "fuse.mfs", "fuse.lustre",
)


def file_system(path: str, mounts: str) -> str:
    """Return the type of the file system of the absolute `path`; `mounts` is /proc/mounts."""
    best, kind = "", "a file system of unknown type"
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").rstrip("/")
        if len(point) >= len(best) and (path + "/").startswith(point + "/"):
            best, kind = point, fields[2]
    return kind


def remote(kind: str) -> bool:
    """Return whether a type of file system is a network file system."""
    return kind.startswith(_REMOTE)


def shared_memory(path: str, free: int | None, ranks: int) -> Finding:
    """Check that the `free` bytes of shared memory at `path` (None: unusable) fit the ranks."""
    if free is None:
        return Finding(WRONG, "shm", f"{path} cannot be used", _more(path))
    value = f"{path}: {free / MIB:,.0f} MiB free"
    need = SHM_LEAST + ranks * SHM_RANK
    if free < need:
        return Finding(WRONG, "shm", f"{value}, {need / MIB:.0f} MiB needed", _more(path))
    if free < SHM_AMPLE + ranks * SHM_RANK:
        return Finding(NOTE, "shm", f"{value}: too little for CIFAR-10", _more(path))
    return Finding(OK, "shm", value)


def _more(path: str) -> str:
    return f"mount -o remount,size=1G {path} (docker run --shm-size=1g)"


def results(folder: Path, exists: bool, writable: bool) -> Finding | None:
    """Check that files can be created in the result `folder`; None if they can."""
    taken = next((path for path in (folder, *folder.parents) if path.is_file()), None)
    if taken:
        return Finding(WRONG, "results", f"{taken} is a file, not a folder", "choose another "
                       "folder: -o FOLDER/OUT.h5")
    if not exists:
        return Finding(WRONG, "results", f"{folder} does not exist",
                       f"mkdir -p {quote(str(folder))}")
    if not writable:
        return Finding(WRONG, "results", f"{folder} cannot be written", "choose another folder: "
                       "-o FOLDER/OUT.h5")
    return None


def locking(environ: Mapping[str, str], folder: str, mounts: str) -> Finding:
    """Check the file system of the result `folder`, on which HDF5 may be unable to lock files."""
    kind = file_system(folder, mounts)
    off = environ.get("HDF5_USE_FILE_LOCKING", "").upper() in ("FALSE", "0")
    if remote(kind) and not off:
        return Finding(NOTE, "hdf5", f"{folder} is on {kind}: fedmpi does not lock, but other "
                       "programs that open results may fail there",
                       "export HDF5_USE_FILE_LOCKING=FALSE")
    return Finding(OK, "hdf5", f"{folder} is on {kind}" + (", no locking" if off else ""))


def environment(prefix: str, mounts: str, nodes: int, ranks: int) -> Finding:
    """Check the file system of the Python environment `prefix`, which each rank reads at start."""
    kind = file_system(prefix, mounts)
    value = f"{prefix} is on {kind}"
    if remote(kind) and (nodes > 1 or ranks > MANY):
        who = f"{ranks} ranks on {nodes} nodes" if nodes > 1 else f"{ranks} ranks"
        return Finding(NOTE, "install", f"{value}: {who} read thousands of small files "
                       "there at once",
                       "use a container (jobs/container), or one image on local disks: see "
                       "'Starts' in docs/scaling.md")
    return Finding(OK, "install", value)


def cache(environ: Mapping[str, str], folder: str, mounts: str, writable: bool) -> Finding:
    """Check the `folder` of compiled kernels, which all ranks of a node read at the start."""
    kind = file_system(folder, mounts)
    remedy = "export TMPDIR=FOLDER, on a disk of the node's own (in a job: $SLURM_TMPDIR)"
    if environ.get("NUMBA_CACHE_DIR"):
        remedy = "unset NUMBA_CACHE_DIR (a folder of each node's own is then used)"
    if not writable:
        return Finding(WRONG, "cache", f"{folder} cannot be written: every rank compiles kernels "
                       "at each start", remedy)
    if remote(kind):
        return Finding(WRONG, "cache", f"{folder} is on {kind}: nodes that share it may "
                       "damage each other's kernels", remedy)
    return Finding(OK, "cache", f"{folder} is on {kind}")
