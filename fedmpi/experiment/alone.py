"""A run is alone with its result file, and on whatever rank it fails the file says why."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fedmpi import named
from fedmpi.comm.alike import alike
from fedmpi.comm.base import Comm
from fedmpi.errors import AlikeError, FedmpiError, RejectedError
from fedmpi.record.hold import Hold, held
from fedmpi.record.sign import tell

if TYPE_CHECKING:
    from fedmpi.record.writer import Writer


@contextmanager
def alone(
    comm: Comm, out: Path, say: Callable[[str], None], overwrite: bool | None
) -> Iterator[Hold | None]:
    """Keep other runs off the result file while the block runs; gives rank 0's Hold. Collective.

    `overwrite` says whether a new run may replace the file, None for a run that goes on. `say` is
    as for `held`. Raises ResultError, with more ranks AlikeError, if a run that is alive writes it.
    """
    with ExitStack() as stack:
        hold = None
        with alike(comm):
            if comm.rank == 0:
                if overwrite is not None:
                    from fedmpi.record.writer import check_target  # imports h5py

                    check_target(out, overwrite)
                hold = stack.enter_context(held(out, say))
        yield hold


@contextmanager
def told(
    writer: "Writer | None", hold: Hold | None, out: Path, comm: Comm
) -> Iterator[None]:
    """If the block raises on any rank, let the result file say why."""
    if writer and hold:
        hold.hear(lambda text: writer.fail("failed", text))
    try:
        yield
    except RejectedError:
        raise
    except BaseException as error:
        reason = f"rank {comm.rank}: {named.in_words(error)}"
        if writer:
            with suppress(FedmpiError):  # a full disk, say; the first error tells more
                writer.fail("failed", reason)
        elif not isinstance(error, AlikeError):
            tell(out, reason)
        raise
