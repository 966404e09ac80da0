"""One bound on the memory for reading a file, and no bit whose flip changes a value."""

import time
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pytest

from fedmpi.errors import ResultError
from fedmpi.record import reader
from fedmpi.resident import peak
from tests.record import sample
from tests.record.test_hostile import refused, swap, swelling


@pytest.fixture
def path(tmp_path):
    """Return the name of a finished run of two rounds."""
    return sample.write(tmp_path / "out.h5", rounds=2)


def forget_the_peak():
    """Begin to measure the most memory at the memory of now, and return it in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def test_a_piece_that_swells_is_not_unpacked(path):
    swap(path, "provenance/hosts", swelling)
    before = forget_the_peak()
    refused(path, "a compressed piece of")
    assert peak() - before < 64 << 20


def long_json(file):
    """Write a configuration of 20 MB, which is many times that as Python's objects."""
    del file["config/resolved"]
    file["config/resolved"] = np.bytes_('{"a": [' + "[1]," * 5_000_000 + "1]}")


def many_groups(file):
    """Write 30,000 empty groups."""
    for i in range(30_000):
        file.create_group(f"provenance/{i}")


def empty_columns(file):
    """Write zeros that are compressed to a thousandth."""
    for i in range(45):
        file.create_dataset(f"devices/{i}", data=np.zeros(1_000_000), chunks=(8192,),
                            compression="gzip")


@pytest.mark.parametrize("fill", [long_json, many_groups, empty_columns])
def test_one_bound_holds_for_all_that_is_read(path, fill):
    with h5py.File(path, "r+") as file:
        fill(file)
    before, start = forget_the_peak(), time.process_time()
    refused(path, "MiB that a file of its size may take|has shape")
    assert peak() - before < 400 << 20
    assert time.process_time() - start < 10


def test_one_flipped_bit_never_gives_other_values(path):
    good = path.read_bytes()
    right = repr(read_again(path))
    random, found = Random(1), 0
    for _ in range(200):
        data = bytearray(good)
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        path.write_bytes(data)
        try:
            assert repr(read_again(path)) == right
        except ResultError:
            found += 1
    assert found > 100


def read_again(path):
    """Return all that a Run holds, as plain values."""
    with reader.open(path) as run:
        tables = (run.rounds, run.clients, run.phases, run.layers, run.devices)
        return (run.info(), run.toml, run.layer_names, run.partition.tolist(),
                {name: array.tolist() for name, array in run.model().items()},
                [{name: table[name].tolist() for name in table} for table in tables])
