"""Compile each kernel once per node: ranks that share a cache folder take turns.

numba writes each cache file atomically, but nothing keeps two processes from compiling
the same function at once, or from giving two signatures the same file number. A file lock
for each function prevents both. Readers share the lock, the process that compiles holds it
exclusively, and a process that waited for it finds the result in the cache. Locks are taken
along the call graph of the kernels, which has no cycles, so there can be no deadlock.

A cache can only save time. So files that are damaged are removed and made again, and a folder that
is full or cannot be written leaves kernels that every process compiles for itself.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

from numba.core.compiler_lock import global_compiler_lock


def once_per_node(kernel: Any) -> Any:
    """Make a numba dispatcher compile each signature in only one process; return the dispatcher.

    With NUMBA_DISABLE_JIT nothing is compiled, and the dispatcher is returned unchanged, as is a
    dispatcher without a cache. In a folder that does not support file locks, no process waits for
    another.
    """
    if not hasattr(kernel, "compile") or kernel._cache.cache_path is None:
        return kernel
    cache, compile_ = kernel._cache, kernel.compile
    load, save = _or_forget(cache, cache.load_overload), _or_forget(cache, cache.save_overload)
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

    cache.load_overload, cache.save_overload, kernel.compile = load_or_wait, save, compile_once
    return kernel


def _or_forget(cache: Any, action: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return `action`, loading or saving, which returns None if it fails.

    It then removes the kernel's files from `cache`: an index could name a file with other code.
    """

    def attempt(signature: Any, other: Any) -> Any:
        """Load or save a compiled signature."""
        try:
            return action(signature, other)
        except Exception:  # a damaged pickle may raise anything
            base = escape(cache._impl.filename_base)
            for path in Path(cache.cache_path).glob(f"{base}.*nb[ic]"):
                with suppress(OSError):
                    path.unlink()
            return None

    return attempt


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
