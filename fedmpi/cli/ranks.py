"""End the ranks of a verb together: an error on one rank does not leave the others waiting."""

import signal
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fedmpi.errors import AlikeError, FedmpiError

if TYPE_CHECKING:  # it needs numpy, and doctor starts without
    from fedmpi.comm.base import Comm


def joined(environ: MutableMapping[str, str]) -> "Comm":
    """Start MPI and return the Comm; from then on SIGINT raises KeyboardInterrupt."""
    from fedmpi.comm.start import start

    comm = start(environ)
    hear_interrupts()
    return comm


def hear_interrupts() -> None:
    """Let SIGINT raise KeyboardInterrupt again, if it ended the process while MPI started."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def ending_together(
    comm: "Comm", debug: bool, tidy: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """End all ranks if this block raises any exception on one of them.

    `tidy` is called before a message is printed. `debug` shows the traceback.
    """
    from fedmpi.cli import report
    from fedmpi.experiment.stop import INTERRUPTED, ignore_signals

    try:
        yield
    except KeyboardInterrupt:
        tidy()
        if comm.size > 1:
            comm.abort(INTERRUPTED)
        raise
    except BaseException as error:  # perhaps on this rank only: the others must not wait for it
        tidy()
        if comm.size == 1 and isinstance(error, BrokenPipeError):
            raise FedmpiError("the reader of this output is gone, so the run ended") from error
        if comm.size == 1:
            raise
        if isinstance(error, AlikeError):  # the same on all ranks: only rank 0 reports it
            ignore_signals()
            if comm.rank:
                raise SystemExit(error.exit_code) from error
            raise
        if comm.rank:
            time.sleep(1.0)  # rank 0 reports first if all ranks fail
        report(error, debug)
        comm.abort(getattr(error, "exit_code", 1))
