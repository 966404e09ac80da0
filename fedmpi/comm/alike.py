"""Errors that occur on one rank and are raised on all ranks."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fedmpi.comm.base import Comm
from fedmpi.errors import AlikeError, FedmpiError

_ROW = np.dtype([("code", "<i4"), ("text", "S1200")])


@contextmanager
def alike(comm: Comm) -> Iterator[None]:
    """Raise an error on all ranks if this block raises a FedmpiError on any of them; collective.

    With several ranks the error is an AlikeError with the text of the first rank that failed.
    """
    fault: FedmpiError | None = None
    try:
        yield
    except FedmpiError as error:
        if comm.size == 1:
            raise
        fault = error
    mine = [(fault.exit_code, str(fault).encode(errors="replace"))] if fault else []
    rows = comm.gather_rows(np.array(mine, _ROW))
    if len(rows):
        raise AlikeError(rows["text"][0].decode(errors="replace"), int(rows["code"][0])) from fault
