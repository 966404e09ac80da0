"""Compile each kernel once per node: ranks that share a cache folder take turns.

numba writes each cache file atomically, but nothing keeps two processes from compiling
the same function at once, or from giving two signatures the same file number. A file lock
for each function prevents both. Readers share the lock, the process that compiles holds it
exclusively, and a process that waited for it finds the result in the cache. Locks are taken
along the call graph of the kernels, which has no cycles, so there can be no deadlock.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from numba.core.compiler_lock import global_compiler_lock


def once_per_node(kernel: Any) -> Any:
    """Make a numba dispatcher compile each signature in only one process; return the dispatcher.

    With NUMBA_DISABLE_JIT nothing is compiled, and the dispatcher is returned unchanged. In a
    folder that does not support file locks, no process waits for another.
    """
    if not hasattr(kernel, "compile"):
        return kernel
    cache, compile_, load = kernel._cache, kernel.compile, kernel._cache.load_overload
    lock = _Lock(Path(cache.cache_path), f"{cache._impl.filename_base}.lock")

    def load_or_wait(signature: Any, target: Any) -> Any:
        """Load a compiled signature; if there is none yet, take the lock and look again."""
        with lock.shared():
            found = load(signature, target)
        if found is None:
            lock.take()
            found = load(signature, target)
        return found

    def compile_once(signature: Any) -> Any:
        """Compile or load a signature, then release the lock."""
        with global_compiler_lock, lock:
            return compile_(signature)

    cache.load_overload, kernel.compile = load_or_wait, compile_once
    return kernel


class _Lock:
    """A reentrant file lock; once taken, it is held until the outermost `with` block ends."""

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
        """Wait until no other process holds the lock, then hold it exclusively."""
        if self._file is None:
            self._file = self._locked(fcntl.LOCK_EX)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Keep other processes from taking the lock exclusively during the block."""
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
