"""The clients' memories: they survive bytes, disks and moves, and a broken round leaves none."""

import tempfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from fedmpi.comm.base import Serial
from fedmpi.errors import FedmpiError, MessageError
from fedmpi.round import transfer
from fedmpi.round.memories import ENTRY, ClientStore, pack, unpack
from fedmpi.round.spill import Spill, _room

ARRAY = arrays_of.arrays(
    st.sampled_from(["<f4", "<i8", "|u1", "<f8", "|b1"]),
    arrays_of.array_shapes(min_dims=0, min_side=0),
)


def memory(client):
    return {"weights": np.full(100, client, np.float32), "count": np.array(client)}


@given(st.dictionaries(st.text(max_size=8), ARRAY, max_size=4))
def test_bytes_give_the_same_arrays_back(arrays):
    found = unpack(pack(arrays))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes() and found[name].flags.writeable


def test_big_endian_arrays_travel_as_little_endian():
    assert np.array_equal(unpack(pack({"a": np.arange(3, dtype=">f4")}))["a"], [0, 1, 2])


@given(st.data())
def test_altered_bytes_are_refused_or_still_an_ordinary_dict(data):
    whole = bytearray(pack(memory(3)))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    with suppress(MessageError):
        assert isinstance(unpack(bytes(whole[: data.draw(st.integers(0, len(whole)))])), dict)


def test_truncated_bytes_are_refused():
    with pytest.raises(MessageError):
        unpack(pack(memory(3))[:-1])
    with pytest.raises(MessageError, match="its header says"):
        unpack(pack(memory(3)) + b"\0")


def test_an_unknown_client_has_an_empty_memory():
    assert ClientStore()[5] == {}


def test_a_prepared_memory_counts_only_after_commit():
    store = ClientStore()
    store.prepare(1, memory(1))
    assert store[1] == {} and store.clients() == []
    store.discard()
    store.commit()
    assert store[1] == {}
    store.prepare(1, memory(1))
    store.commit()
    assert store[1]["count"] == 1 and store.clients() == [1]


def test_a_memory_has_the_same_form_wherever_it_was():
    """Sums of numpy depend on the order in memory: 82.54652 by rows, 82.54651 by columns."""
    rows = np.random.default_rng(0).standard_normal((300, 70)).astype(np.float32)
    given = {"columns": np.asfortranarray(rows), "big": rows.astype(">f4"), "every": rows[:, ::3],
             "read": np.frombuffer(b"bytes", np.uint8), "one": np.array(3.5, np.float32)}
    here, away = ClientStore(), ClientStore(limit=0)  # the second has one memory, the rest on disk
    for store in (here, away):
        for client in (1, 2):
            store.prepare(client, given)
        store.commit()
    assert (1, "kept") in here._held and (1, "kept") in away._filed
    for name, array in here[1].items():
        came = away[1][name]
        assert array.dtype == came.dtype and array.strides == came.strides
        assert array.tobytes() == came.tobytes() == given[name].astype(came.dtype).tobytes()
        assert array.sum() == came.sum()


def test_a_memory_is_its_own_and_no_part_of_another_array():
    """The limit does not count the whole of a slice, and a method may use its array again."""
    store, whole = ClientStore(), np.arange(1000.0)
    for client in (1, 2):
        whole[-1] = client
        store.prepare(client, {"head": whole[-3:], "all": whole})
    whole[:] = -1
    store.commit()
    for client in (1, 2):
        assert store[client]["head"].tolist() == [997, 998, client]
        assert store[client]["all"][-2:].tolist() == [998, client]
        assert store[client]["head"].base is None
    before = store[1]
    store.prepare(1, {**before, "rounds": np.array(5)})
    store.commit()
    assert store[1]["all"] is before["all"]  # nothing that stays is copied again


def test_memory_stays_below_the_limit_and_the_disk_holds_the_rest(tmp_path):
    store = ClientStore(limit=2 * (408 + ENTRY) + 900, folder=tmp_path)
    for client in range(20):
        store.prepare(client, memory(client))
    store.commit()
    assert store.clients() == list(range(20))
    assert store._size <= 2 * (408 + ENTRY) + 900 and len(list(store._filed)) == 18
    for client in (0, 19, 7):
        assert store.packed(client) == pack(memory(client))
    assert len(list(store._filed)) == 18  # looking at the bytes has moved nothing
    for client in (0, 19, 7):
        assert np.array_equal(store[client]["weights"], memory(client)["weights"])
    assert not list(tmp_path.iterdir())  # the file has no name that could outlive the process


def test_the_memory_that_was_used_longest_ago_goes_to_the_disk(tmp_path):
    store = ClientStore(limit=2 * (408 + ENTRY), folder=tmp_path)
    for client in (1, 2):
        store.prepare(client, memory(client))
    store.commit()
    assert not list(store._filed)  # both fit exactly
    assert store[1]["count"] == 1
    store.prepare(3, memory(3))
    store.commit()
    assert list(store._filed) == [(2, "kept")] and store.clients() == [1, 2, 3]


def test_a_store_knows_how_many_bytes_it_holds():
    store = ClientStore()
    for turn in range(3):
        store.prepare(1, memory(turn))
        assert store._size == (408 + ENTRY) * (2 if turn else 1)  # the old and the next
        store.commit()
        assert store._size == 408 + ENTRY
    store[1]["weights"] = store[1].pop("count")  # changes a dict of the caller's own
    assert store.packed(1) == pack(memory(2))
    assert store._take_out(1) == pack(memory(2)) and store._size == 0 and store.clients() == []


@given(st.data())
def test_what_waits_on_the_disk_comes_back(data):
    spill, model = Spill(), {}
    for step in range(data.draw(st.integers(0, 30))):
        key = data.draw(st.integers(0, 5))
        if key in model:
            assert spill.get(key) == model[key]
            assert spill.pop(key) == model.pop(key)
        else:
            model[key] = bytes([step]) * data.draw(st.integers(0, 40))
            spill.put(key, model[key])
        assert sorted(spill) == sorted(model) and (key in spill) == (key in model)
    assert {key: spill.get(key) for key in spill} == model


def test_room_on_the_disk_is_used_again(tmp_path):
    spill = Spill(tmp_path)
    for turn in range(50):
        for key in range(4):
            if turn:
                spill.pop(key)
            spill.put(key, bytes(1000 + turn % 3))
    assert spill._end <= 4 * 1000 * 1.25
    assert [_room(size) for size in (0, 1, 7, 8, 9, 1000, 1025)] == [0, 1, 7, 8, 10, 1024, 1280]


def test_a_full_disk_says_where_it_is_full():
    spill = Spill("/nonexistent")
    with pytest.raises(FedmpiError, match=r"/nonexistent: cannot store 5 more bytes .* set TMPDIR"):
        spill.put(1, b"bytes")


def test_a_full_disk_of_the_system_is_named_too(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with pytest.raises(FedmpiError, match=r"^/nonexistent: cannot store 5 more bytes"):
        Spill().put(1, b"bytes")


def test_no_temporary_folder_at_all_is_named_too(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nonexistent"])
    with pytest.raises(FedmpiError, match=r"cannot store 5 more bytes .*No usable .*set TMPDIR"):
        Spill().put(1, b"bytes")


@pytest.mark.parametrize("chunk", [7, 40, 10_000])
def test_memories_of_any_length_come_through_chunks_of_any_length(monkeypatch, chunk):
    """Records are cut anywhere, a head too; clients without a memory send nothing."""
    monkeypatch.setattr(transfer, "CHUNK", chunk)
    memories = {3: b"", 5: b"x" * 90, 8: bytes(range(256)), 9: b"y"}
    comm, sent = Serial(), []

    def exchange(boxes):
        sent.extend(map(len, boxes))
        return boxes

    monkeypatch.setattr(comm, "exchange", exchange)
    asked = []

    def take(client):
        asked.append(client)
        return memories[client]

    found = dict(transfer.transferred(comm, [list(memories)], take))
    assert found == {client: data for client, data in memories.items() if data}
    assert max(sent) <= chunk and asked == list(memories)


def test_homes_are_known_to_the_ranks_that_share_them():
    shared = np.zeros(901, np.int32)
    store, other = ClientStore(shared), ClientStore(shared)
    assert store.homes_of(np.array([4, 0])).tolist() == [-1, -1]
    store.set_homes(np.array([2, 70]), np.array([1, 0]))
    for one in (store, other):
        assert one.homes_of(np.array([2, 3, 70, 900])).tolist() == [1, -1, 0, -1]


def test_a_round_costs_what_it_prepares(monkeypatch):
    """To commit or discard looks at the memories prepared in the round, not at all memories."""
    store, looked = ClientStore(), []
    for client in range(1000):
        store.prepare(client, memory(client))
    store.commit()
    pop = store._pop
    monkeypatch.setattr(store, "_pop", lambda key: (looked.append(key), pop(key))[1])
    store.prepare(7, {"count": np.array(70)})
    store.discard()
    assert store[7]["count"] == 7
    store.prepare(7, {"count": np.array(70)})
    store.commit()
    assert store[7]["count"] == 70 and store.clients() == list(range(1000))
    assert {client for client, _ in looked} == {7}
