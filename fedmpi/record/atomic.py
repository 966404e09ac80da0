"""Change files as a whole or not at all: a changed copy is renamed to the file."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep

from fedmpi.errors import unwritable
from fedmpi.record.flock import has_path, try_lock
from fedmpi.record.paths import Out

PATIENCE = 5.0  # seconds that a writer waits for another writer of the same file


@contextmanager
def replacement(path: Out, copied: bool = False) -> Iterator[str]:
    """Yield the name of a new file, a copy of `path` if `copied`, which replaces `path` at the end.

    The block must write the file through to the disk (fsync), or a power cut may leave it empty.
    If the block raises, the new file is removed and `path` is unchanged. If the process dies,
    `path` is either the old file or the new one, and `path`.part may be left behind. Raises
    OSError, also if another process is replacing `path` at the same time.
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
        os.close(lock)  # this also releases the lock


def write_text(path: Out, text: str, errors: str = "strict") -> None:
    """Write a whole text file in UTF-8, or no file. Raises ResultError if that fails.

    With `errors` "surrogateescape" paths that are not UTF-8 are written byte for byte.
    """
    try:
        with replacement(path) as part, open(part, "w", encoding="utf-8", errors=errors) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from error


def _locked(part: str) -> int:
    """Return a locked descriptor of `part`, which is created if needed."""
    end = monotonic() + PATIENCE
    while True:
        file = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
        free = try_lock(file)
        if free is None or (free and has_path(file, part)):
            return file
        os.close(file)  # another writer has the lock, or renamed the file before we locked it
        if not free:
            if monotonic() > end:
                raise OSError(errno.EBUSY, "another run is writing it")
            sleep(0.05)


def copy(source: Out, target: Out) -> None:
    """Copy a file with its mode, inside the file system if possible."""
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
        except (OSError, AttributeError):  # not supported by the file system or by the platform
            left = status.st_size
        if left:
            old.seek(0)
            new.seek(0)
            new.truncate()
            shutil.copyfileobj(old, new, 1 << 20)


def rename(part: Out, path: Out) -> None:
    """Rename `part`, whose bytes are on the disk, to `path`, and sync the folder."""
    os.replace(part, path)
    with suppress(OSError):  # some file systems cannot sync a folder
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
