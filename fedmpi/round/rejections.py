"""The rejected clients of a round and the reasons: gathered from the ranks, and named."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from fedmpi.comm.base import Comm
from fedmpi.errors import RejectedError
from fedmpi.round.columns import by_client
from fedmpi.round.fixed import Experiment

Reasons: TypeAlias = Sequence[tuple[int, str]]
"""(client, reason) of each rejected client."""
REASON = np.dtype([("client", "<i8"), ("text", "S160")])
"""A rejected client and the reason, as ranks exchange them."""
NAMED = 10  # most clients that a message names


def gathered(reasons: Reasons, comm: Comm) -> Reasons:
    """Return the Reasons of all ranks, in order of client. Collective."""
    rows = np.array([(client, text.encode()) for client, text in reasons], REASON)
    rows = by_client(comm.gather_rows(rows))
    return [(int(client), text.decode(errors="replace")) for client, text in rows]


def names_of_rejected(reasons: Sequence[tuple[int, str]]) -> str:
    """Return a text that names the rejected clients of [(client, reason)], or "" if none."""
    alike: dict[str, list[str]] = {}  # clients by reason
    for client, reason in reasons[:NAMED]:
        alike.setdefault(reason, []).append(str(client))
    found = [f"{', '.join(clients)}: {reason}" for reason, clients in alike.items()]
    more = "; ..." if len(reasons) > NAMED else ""
    return f"{len(reasons)} rejected ({'; '.join(found)}{more})" if reasons else ""


def too_many(experiment: Experiment, round: int, reasons: Reasons, clients: int) -> RejectedError:
    """Return the error that names the rejected of the `clients` of a round."""
    config = experiment.config
    more = "" if config.server.optimizer == "average" else " or server.lr"
    return RejectedError(
        f"round {round}: of {clients} clients {names_of_rejected(reasons)}; the run stops, since "
        f"clients.max_rejected = {config.clients.max_rejected:g}\n"
        f"{experiment.algorithm.remedy}{more} and run again, or resume with a larger "
        "clients.max_rejected"
    )
