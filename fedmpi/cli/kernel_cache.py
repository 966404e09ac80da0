"""The folder of compiled kernels: on a local disk of the node, for this processor and source."""

import hashlib
import os
import platform
import shutil
import stat
import tempfile
from collections.abc import MutableMapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from fedmpi import kernels
from fedmpi.cli.machine import cache_folder
from fedmpi.doctor import processors

KEPT = 4  # folders of older sources or other processors


def keep_kernels_on_node(environ: MutableMapping[str, str]) -> Path:
    """Point numba at the node's folder of compiled kernels and return that folder.

    Call it before numba is imported. A NUMBA_CACHE_DIR that the user has set takes precedence.
    """
    named = environ.get("NUMBA_CACHE_DIR")
    if named:
        return Path(named)
    folder = node_folder() / key()
    if folder.is_dir():
        with suppress(OSError):
            os.utime(folder)  # the latest use
    else:
        _forget_old(folder.parent)
    environ["NUMBA_CACHE_DIR"] = str(folder)
    return folder


def key() -> str:
    """Return the name of the folder, a hash of processor, numba version and all kernel sources.

    numba checks only the file of a kernel itself, so without this hash a kernel that calls a kernel
    in another file would not be recompiled when that file changes.
    """
    digest = hashlib.sha256(_processor().encode())
    digest.update(version("numba").encode())
    for folder in kernels.__path__:
        for path in sorted(Path(folder).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def node_folder() -> Path:
    """Return this user's folder in the node's temporary folder, or else in the user's cache.

    Its files are executed, so it must belong to the user, and no other user may write it.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"fedmpi-kernels-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        if own and not found.st_mode & 0o022 and os.access(folder, os.W_OK | os.X_OK):
            return folder
    except OSError:
        pass  # the temporary folder cannot be written, or there is none
    return cache_folder() / "kernels"


def _forget_old(folder: Path) -> None:
    """Remove the folders of kernels least recently used, such as those of older sources.

    A run that still uses such a folder recompiles the kernels that it has not loaded yet.
    """
    with suppress(OSError):
        found = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in found[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def _processor() -> str:
    """Return the facts that compiled code depends on: the processor's name and features."""
    return "\n".join(processors.lines_for_code(processors.described())) or platform.processor()
