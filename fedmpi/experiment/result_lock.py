"""A run's lock on its result file, and the record of a failure on any rank in this file."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fedmpi import user_code
from fedmpi.comm.alike import alike
from fedmpi.comm.base import Comm
from fedmpi.errors import AlikeError, FedmpiError, RejectedError
from fedmpi.record.heartbeat import report_failure
from fedmpi.record.lock import ResultLock, locked

if TYPE_CHECKING:
    from fedmpi.record.writer import Writer


@contextmanager
def locked_by_run(
    comm: Comm, out: Path, say: Callable[[str], None], overwrite: bool | None
) -> Iterator[ResultLock | None]:
    """Keep other runs off the result file while the block runs; yield rank 0's lock. Collective.

    `overwrite` is whether a new run may replace the file, None for a resumed run. `say` is as for
    `locked`. Raises ResultError, on several ranks AlikeError, if a live run is writing the file.
    """
    with ExitStack() as stack:
        lock = None
        with alike(comm):
            if comm.rank == 0:
                if overwrite is not None:
                    from fedmpi.record.writer import check_target  # imports h5py

                    check_target(out, overwrite)
                lock = stack.enter_context(locked(out, say))
        yield lock


@contextmanager
def failure_recorded(
    writer: "Writer | None", lock: ResultLock | None, out: Path, comm: Comm
) -> Iterator[None]:
    """Write the error into the result file if the block raises on any rank."""
    if writer and lock:
        lock.on_failure(lambda text: writer.fail("failed", text))
    try:
        yield
    except RejectedError:
        raise
    except BaseException as error:
        reason = f"rank {comm.rank}: {user_code.in_words(error)}"
        if writer:
            with suppress(FedmpiError):  # for instance a full disk; the first error says more
                writer.fail("failed", reason)
        elif not isinstance(error, AlikeError):
            report_failure(out, reason)
        raise
