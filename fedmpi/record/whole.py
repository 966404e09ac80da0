"""Files that are always whole: a change is made to a copy, which then takes the file's name."""

import os
import shutil
from contextlib import contextmanager, suppress


@contextmanager
def replacement(path, copied=False):
    """Give the name of a new file, a copy of `path` if `copied`; at the end it becomes `path`.

    The block must leave the file on the disk (fsync), else a power cut may leave it empty.
    If the block raises, the new file is removed and `path` is as before. If the process dies,
    `path` is the old file or the new one, and `path`.part may be left over.
    """
    part = f"{path}.part"
    try:
        if copied:
            copy(path, part)
        yield part
        settle(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def copy(source, target):
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


def settle(part, path):
    """Give `part`, which is on the disk, the name `path`, and put that name on the disk."""
    os.replace(part, path)
    with suppress(OSError):  # some file systems cannot sync a folder
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
