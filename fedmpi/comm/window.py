"""Memory that the ranks of a node share: how to allocate and free it.

MPI libraries on Linux place shared windows in /dev/shm, which is often small in containers. Some
reserve the memory at once, others on the first write, when a rank without room is killed by a bus
error. The free space is therefore checked first.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from mpi4py import MPI
from numpy.typing import DTypeLike

from fedmpi.arrays import AnyArray
from fedmpi.errors import ConfigError

Table: TypeAlias = Mapping[str, tuple[Sequence[int], DTypeLike]]
"""Arrays to be allocated: name -> (shape, dtype)."""

MEMORY = "/dev/shm"  # where MPI libraries on Linux place shared windows
ALIGNMENT = 64  # bytes of a cache line: no two arrays share a line
ENLARGE = "enlarge it (of a container: --shm-size), or start fewer ranks on a node"


def open_window(
    node: MPI.Comm, arrays: Table, purpose: str, remedy: str = ENLARGE
) -> tuple[MPI.Win | None, dict[str, AnyArray]]:
    """Return (window, views) of arrays shared by the ranks of a node; collective over them.

    Parameters
    ----------
    node : MPI.Comm
        The ranks of one node.
    arrays : dict
        name -> (shape, dtype), the same on all ranks. The memory may not be zero at first.
    purpose, remedy : str
        For the error message: the use of the memory, and advice if there is too little.

    Returns
    -------
    MPI.Win or None
        To be passed to `close_window`. None if the node has one rank, which gets plain memory.
    dict of arrays
        Views of the window, each of which begins at a multiple of 64 bytes.

    Raises
    ------
    ConfigError
        On all ranks of the node, if there is not enough shared memory.
    """
    if node.size == 1:
        return None, {name: np.zeros(shape, kind) for name, (shape, kind) in arrays.items()}
    sizes = [_bytes_of(shape, kind) for shape, kind in arrays.values()]
    ends = np.cumsum([0, *(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)])
    _check_room(node, int(ends[-1]), purpose, remedy)
    size = max(int(ends[-1]), 1) * (node.rank == 0)
    window = MPI.Win.Allocate_shared(size, 1, comm=MPI.Intracomm(node))
    window.Lock_all(MPI.MODE_NOCHECK)
    memory = np.asarray(window.Shared_query(0)[0], np.uint8)
    views = {
        name: memory[at : at + size].view(kind).reshape(shape)
        for (name, (shape, kind)), at, size in zip(arrays.items(), ends, sizes)
    }
    return window, views


def close_window(window: MPI.Win | None) -> None:
    """Free a window; collective over the ranks of the node. Do nothing for None."""
    if window is not None:
        window.Unlock_all()
        window.Free()


def _bytes_of(shape: Sequence[int], kind: DTypeLike) -> int:
    """Return the number of bytes of an array with this shape and dtype."""
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize


def _check_room(node: MPI.Comm, size: int, purpose: str, remedy: str) -> None:
    """Raise ConfigError on all ranks if the first finds less than `size` bytes free."""
    room = np.array([size])
    if node.rank == 0 and os.path.isdir(MEMORY):
        files = os.statvfs(MEMORY)
        room[0] = files.f_bavail * files.f_frsize
    node.Bcast(room, root=0)
    if room[0] < size:
        raise ConfigError(
            f"{purpose}: needs {-(-size >> 20)} MiB of shared memory in {MEMORY}, "
            f"which has {room[0] >> 20} MiB\n{remedy}"
        )
