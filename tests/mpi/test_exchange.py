"""Bytes from every rank to every rank, and the client memories that travel so."""

import numpy as np
import pytest

from fedmpi.resident import resident
from fedmpi.round import transfer
from fedmpi.round.memories import ClientStore


def test_moving_memories_takes_a_bounded_number_of_bytes(comm, monkeypatch, tmp_path):
    """160 MB move from rank to rank; each rank holds only a few chunks meanwhile."""
    chunk, clients, size = transfer.CHUNK // 4, np.arange(40), 1_000_000
    monkeypatch.setattr(transfer, "CHUNK", chunk)
    store = ClientStore(np.zeros(40, np.int32), 1 << 22, tmp_path)
    store.set_homes(clients, clients * 0)
    for client in clients.tolist() if comm.rank == 0 else []:
        store.prepare(client, {"x": np.full(size, client, np.float32)})
    store.commit()
    exchange, largest, grown, before = comm.exchange, [0], [0], resident()

    def watched(boxes):
        largest.append(sum(map(len, boxes)))
        received = exchange(boxes)
        grown.append(resident() - before)
        return received

    monkeypatch.setattr(comm, "exchange", watched)
    sent = store.move(comm, clients, np.full(40, comm.size - 1))
    assert (sent > 40 * 4 * size) == (comm.rank == 0 and comm.size > 1)
    assert len(store.clients()) == (40 if comm.rank == comm.size - 1 else 0)
    assert max(largest) <= chunk and max(grown) < 4 * chunk
    for client in store.clients():
        assert (store[client]["x"] == client).all()


@pytest.mark.parametrize("scale", [0, 1, 1000])
def test_every_box_arrives_at_its_rank(comm, scale):
    def box(sender, receiver):
        return bytes([sender, receiver]) * (scale * (sender + receiver))

    everyone = range(comm.size)
    found = comm.exchange([box(comm.rank, other) for other in everyone])
    assert found == [box(other, comm.rank) for other in everyone]


def test_client_memories_follow_their_clients(comm):
    store, clients = ClientStore(comm.node_zeros((12,), np.int32), limit=64), np.arange(12)
    for shift in range(comm.size + 2):
        ranks = (clients + shift) % comm.size
        store.move(comm, clients, ranks)
        mine = clients[ranks == comm.rank].tolist()
        if shift:
            assert store.clients() == mine
        for client in mine:
            assert store[client].get("rounds", 0) == shift
            store.prepare(client, {"rounds": np.array(shift + 1), "x": np.full(9, client)})
        store.commit()
