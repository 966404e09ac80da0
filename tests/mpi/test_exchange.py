"""Bytes from every rank to every rank, and the client memories that travel so."""

import numpy as np
import pytest

from fedmpi.round.memories import ClientStore


@pytest.mark.parametrize("scale", [0, 1, 1000])
def test_every_box_arrives_at_its_rank(comm, scale):
    def box(sender, receiver):
        return bytes([sender, receiver]) * (scale * (sender + receiver))

    everyone = range(comm.size)
    found = comm.exchange([box(comm.rank, other) for other in everyone])
    assert found == [box(other, comm.rank) for other in everyone]


def test_client_memories_follow_their_clients(comm):
    store, clients = ClientStore(limit=64), np.arange(12)
    for shift in range(comm.size + 2):
        ranks = (clients + shift) % comm.size
        store.move(comm, clients, ranks)
        mine = clients[ranks == comm.rank].tolist()
        if shift:
            assert store.clients() == mine
        for client in mine:
            assert store[client].get("rounds", 0) == shift
            store.stage(client, {"rounds": np.array(shift + 1), "x": np.full(9, client)})
        store.commit()
