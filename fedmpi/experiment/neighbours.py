"""Signs of life between nodes: if a whole node stops, the other nodes report it.

Once a second each rank sends a few bytes by UDP to a rank of another node, in turn, and each node
counts the messages it receives in memory that its ranks share. No result depends on these messages
and nothing waits for them. A node counts as silent only after it has been heard once, so there are
no false warnings on networks that carry no UDP between nodes. Messages without the run's random
mark, which the ranks agree on by MPI, are dropped.
"""

import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from fedmpi.arrays import AnyArray
from fedmpi.comm.base import Comm

MESSAGE = struct.Struct("<16sI")  # the run's mark, the number of the sender's node
MOST = 1000  # messages received in one call of `look`
ROUNDS = 4  # the least number of missed turns before a node counts as silent
ADDRESSES = 2  # addresses of a node that are tried
_ROW = np.dtype(
    [("rank", "<i8"), ("first", "<i8"), ("host", "S64"), ("port", "<i4"),
     ("addresses", "S16", (ADDRESSES,))]
)  # fmt: skip


class Neighbours:
    """The signs of life that this rank sends to and receives from other nodes.

    The constructor is collective over `comm`. `patience` is the time in seconds after which a node
    that was heard before counts as silent, and `pause` the time between two calls of `look`.
    """

    def __init__(self, comm: Comm, patience: float, pause: float) -> None:
        self._socket: socket.socket | None = None  # none on a node that is alone
        self._seen: dict[int, tuple[int, float]] = {}  # node -> (messages heard, since when)
        self._silent: set[int] = set()
        self._turn = comm.node_rank
        nodes = comm.count_nodes()
        if nodes == 1:
            return
        self._mark = bytes.fromhex(comm.share(os.urandom(16).hex()))
        self._heard = comm.node_zeros((comm.node_size, nodes), np.int64)
        self._node_rank, self._stride = comm.node_rank, comm.node_size
        self._nodes = _by_node(comm.gather_rows(self._row(comm)))
        self._here = next(i for i, ranks in enumerate(self._nodes) if comm.rank in ranks["rank"])
        self._others = [node for node in range(nodes) if node != self._here]
        rounds = -(-len(self._others) // comm.node_size)
        self._patience = max(patience, ROUNDS * rounds * pause)

    def __enter__(self) -> "Neighbours":
        return self

    def __exit__(self, *error: object) -> None:
        if self._socket:
            self._socket.close()

    def _row(self, comm: Comm) -> AnyArray:
        """Open the socket, and return the row _ROW[1] by which other nodes reach this rank."""
        self._heard[self._node_rank, 0] = comm.rank
        comm.node_barrier()
        first = int(self._heard[0, 0])
        comm.node_barrier()
        self._heard[self._node_rank, 0] = 0
        row = np.zeros(1, _ROW)
        row["rank"], row["first"], row["host"] = comm.rank, first, socket.gethostname()
        with suppress(OSError):  # a system without such sockets: this rank stays silent
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._socket.bind(("", 0))
            row["port"], row["addresses"] = self._socket.getsockname()[1], addresses()
        return row

    def look(self, now: float) -> list[str]:
        """Send a sign of life, receive those of others; return a text for each newly silent node.

        `now` is in seconds. Only the first of the nodes that are alive reports; on the other nodes
        the list is empty.
        """
        if self._socket is None:
            return []
        self._send(self._socket)
        self._receive(self._socket)
        for node in self._others:
            count = int(self._heard[:, node].sum())
            known, since = self._seen.get(node, (0, now))
            if count != known:
                known, since = count, now
                self._silent.discard(node)
            self._seen[node] = known, since
        silent = {
            node for node, (count, since) in self._seen.items()
            if count and now - since >= self._patience
        }
        new, self._silent = sorted(silent - self._silent), self._silent | silent
        speaks = self._here < min(set(self._others) - silent, default=len(self._nodes))
        return [self._text(node) for node in new] if speaks else []

    def _send(self, by: socket.socket) -> None:
        """Send a sign of life to one rank of one other node."""
        ranks = self._nodes[self._others[self._turn % len(self._others)]]
        there = ranks[self._turn // self._stride % len(ranks)]
        self._turn += self._stride
        for address in there["addresses"]:
            if address:
                with suppress(OSError):
                    where = address.decode(), int(there["port"])
                    by.sendto(MESSAGE.pack(self._mark, self._here), where)

    def _receive(self, by: socket.socket) -> None:
        """Count the messages that have arrived."""
        for _ in range(MOST):
            try:
                data = by.recv(MESSAGE.size + 1)
            except OSError:  # no more messages
                return
            if len(data) == MESSAGE.size:
                mark, node = MESSAGE.unpack(data)
                if mark == self._mark and node < len(self._nodes):
                    self._heard[self._node_rank, node] += 1

    def _text(self, node: int) -> str:
        """Return the warning that a node is silent."""
        ranks = self._nodes[node]
        numbers = ", ".join(map(str, ranks["rank"].tolist()))
        return (
            f"no rank on {ranks['host'][0].decode()} has moved for {self._patience:g} s (rank "
            f"{numbers}); see whether the node is stopped or cut off from the network"
        )


def _by_node(rows: AnyArray) -> Sequence[AnyArray]:
    """Return the rows _ROW[n] of all ranks, grouped by node."""
    return [rows[rows["first"] == first] for first in np.unique(rows["first"])]


def addresses() -> list[str]:
    """Return the IPv4 addresses at which other nodes may reach this node, the best first, as texts.

    They are the addresses of its host name, and the source address of its route to the outside.
    Missing addresses are "".
    """
    found: list[str] = []
    with suppress(OSError, UnicodeError):  # UnicodeError: a host name that no DNS name can be
        found += socket.gethostbyname_ex(socket.gethostname())[2]
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # reserved for documentation; connect sends nothing
        found.append(probe.getsockname()[0])
    found = [address for address in dict.fromkeys(found) if not address.startswith("127.")]
    return [*(found or ["127.0.0.1"]), *[""] * ADDRESSES][:ADDRESSES]
