"""Files that change as a whole or not at all: a changed copy takes the name of the file."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep

from fedmpi.record.flock import has_path, try_lock
from fedmpi.record.paths import Out

PATIENCE = 5.0  # seconds that a writer waits for another one


@contextmanager
def replacement(path: Out, copied: bool = False) -> Iterator[str]:
    """Give the name of a new file, a copy of `path` if `copied`; at the end it becomes `path`.

    The block must leave the file on the disk (fsync), else a power cut may leave it empty.
    If the block raises, the new file is removed and `path` is as before. If the process dies,
    `path` is the old file or the new one, and `path`.part may be left over. Raises OSError,
    also if another process is replacing `path` just now.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, "is a folder, device, pipe or socket")
    part = f"{path}.part"
    lock = _locked(part)
    try:
        if copied:
            copy(path, part)
        yield part
        rename(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    finally:
        os.close(lock)  # which ends the lock


def _locked(part: str) -> int:
    """Return a descriptor of `part`, made if it is not there, with the lock on it."""
    end = monotonic() + PATIENCE
    while True:
        file = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
        free = try_lock(file)
        if free is None or (free and has_path(file, part)):
            return file
        os.close(file)  # another writer has it, or it has been renamed between our two steps
        if not free:
            if monotonic() > end:
                raise OSError(errno.EBUSY, "another run is writing it")
            sleep(0.05)


def copy(source: Out, target: Out) -> None:
    """Copy a file with its mode, inside the file system where that is possible."""
    with open(source, "rb") as old, open(target, "wb") as new:
        status = os.fstat(old.fileno())
        os.fchmod(new.fileno(), status.st_mode & 0o777)
        left = status.st_size
        try:
            while left:
                done = os.copy_file_range(old.fileno(), new.fileno(), left)
                if not done:
                    break
                left -= done
        except (OSError, AttributeError):  # not on this file system, or not on this system
            left = status.st_size
        if left:
            old.seek(0)
            new.seek(0)
            new.truncate()
            shutil.copyfileobj(old, new, 1 << 20)


def rename(part: Out, path: Out) -> None:
    """Give `part`, which is on the disk, the name `path`, and put that name on the disk."""
    os.replace(part, path)
    with suppress(OSError):  # some file systems cannot sync a folder
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
