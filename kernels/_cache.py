"""Compiled once on a node: ranks that share a cache folder take turns.

numba writes its cache files one by one, each whole, but nothing keeps two processes from
compiling the same function at once, nor from giving two signatures the same file number.
A file lock for each function does both: readers share it, the one who compiles has it
alone, and whoever waited for it finds the result. Locks are taken along the call graph of
the kernels, which has no cycles, so no two processes wait for each other.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from numba.core.compiler_lock import global_compiler_lock


def once_per_node(kernel: Any) -> Any:
    """Make a dispatcher of numba compile each signature in one process only; return it.

    Where nothing is compiled (NUMBA_DISABLE_JIT) or the folder knows no locks, it stays as it
    is.
    """
    if not hasattr(kernel, "compile"):
        return kernel
    cache, compile_, load = kernel._cache, kernel.compile, kernel._cache.load_overload
    lock = _Lock(Path(cache.cache_path), f"{cache._impl.filename_base}.lock")

    def load_or_wait(signature: Any, target: Any) -> Any:
        """Load a compiled signature; where there is none yet, return with the lock held."""
        with lock.shared():
            found = load(signature, target)
        if found is None:
            lock.take()
            found = load(signature, target)
        return found

    def compile_once(signature: Any) -> Any:
        """Compile or load a signature, and let go of the lock that this took."""
        with global_compiler_lock, lock:
            return compile_(signature)

    cache.load_overload, kernel.compile = load_or_wait, compile_once
    return kernel


class _Lock:
    """A file lock that its process may enter again; `take` holds it until the outermost exit."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._depth = 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> "_Lock":
        self._depth += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._file is not None:
            self._file.close()  # which unlocks
            self._file = None

    def take(self) -> None:
        """Wait until no other process has the lock, and have it alone."""
        if self._file is None:
            self._file = self._locked(fcntl.LOCK_EX)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Keep other writers away during the block."""
        file = None if self._file else self._locked(fcntl.LOCK_SH)
        try:
            yield
        finally:
            if file:
                file.close()

    def _locked(self, how: int) -> BinaryIO | None:
        """Return the open lock file, or None where files cannot be locked."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = (self._folder / self._name).open("ab")
        except OSError:
            return None
        try:
            fcntl.flock(file, how)
        except OSError:
            file.close()
            return None
        return file
