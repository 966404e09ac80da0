"""Damaged, foreign and hostile files: each is refused in one line, and nothing else happens."""

import zlib

import h5py
import numpy as np
import pytest

from fedmpi.errors import ResultError
from fedmpi.record import reader
from fedmpi.record.writer import Writer
from tests.record import sample


@pytest.fixture
def path(tmp_path):
    """Return the name of a finished run of five rounds."""
    return sample.write(tmp_path / "out.h5")


def everything(path):
    """Read all that a Run offers, and return its values in one order."""
    with reader.open(path) as run:
        found = [run.info() | {"path": None}, run.toml, run.layer_names, run.partition.tolist()]
        found += [(name, values.tolist()) for name, values in run.model().items()]
        for table in (run.rounds, run.clients, run.phases, run.layers, run.devices):
            found += [(name, table[name].tolist()) for name in table]
        return found


def refused(path, message, read=everything):
    """Assert that reading ends in a ResultError of one short line that names the file."""
    with pytest.raises(ResultError, match=message) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300 + len(str(path)) and str(path) in text


def test_files_that_are_no_results(tmp_path):
    refused(tmp_path / "no.h5", "no such file")
    refused("", "the path of the result file is empty")
    refused(tmp_path, "is a folder, not a result file; name files in it")
    for name, data in (("empty", b""), ("text", b"[run]\n"), ("half", b"\x89HDF\r\n\x1a\n" * 9)):
        file = tmp_path / name
        file.write_bytes(data)
        refused(file, "is not an HDF5 file|damaged")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    refused(tmp_path / "other.h5", "is HDF5, but not a result of fedmpi")


@pytest.mark.parametrize("kept", [0.01, 0.3, 0.7, 0.999])
def test_truncated_files(path, kept):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    refused(path, "damaged|not an HDF5 file")


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("2.0", "has schema 2.0, this fedmpi reads up to 1.x; install a newer fedmpi"),
        ("0.9", "has the old schema 0.9; run: fedmpi upgrade"),
        ("one", "damaged, fedmpi_schema is 'one'"),
    ],
)
def test_other_schemas(path, version, message):
    set_attribute(path, "fedmpi_schema", np.bytes_(version))
    refused(path, message)


def test_the_command_for_an_old_schema_can_be_copied(path):
    other = path.rename(path.with_name("my out.h5"))
    set_attribute(other, "fedmpi_schema", np.bytes_("0.9"))
    refused(other, f"run: fedmpi upgrade '{other}'")


def test_a_later_minor_schema_is_read(path):
    set_attribute(path, "fedmpi_schema", np.bytes_("1.7"))
    with h5py.File(path, "r+") as file:
        file["rounds/new_column"] = np.zeros(5)
    everything(path)


def set_attribute(path, name, value):
    """Change a root attribute."""
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rounds", 6),
        ("rounds", -1),
        ("rounds", "five"),
        ("rounds", 1 << 60),
        ("status", np.bytes_("x" * 5000)),
        ("status", "of free length"),
        ("status", np.bytes_(b"\xff\xfe")),
        ("status", np.bytes_("lost")),
        ("ranks", [2, 2]),
        ("ranks", 2.5),
    ],
)
def test_root_attributes_out_of_order(path, name, value):
    set_attribute(path, name, value)
    refused(path, "damaged")


def swap(path, name, make):
    """Replace an object by the result of make(file, name)."""
    with h5py.File(path, "r+") as file:
        del file[name]
        make(file, name)


def outside(file, name):
    """Link to another file, which exists."""
    with h5py.File(file.filename + ".secret", "w") as secret:
        secret["x"] = np.zeros(5)
    file[name] = h5py.ExternalLink(file.filename + ".secret", "x")


def soft(file, name):
    """Link to another place in the file."""
    file[name] = h5py.SoftLink("/rounds/test_loss")


def external(file, name):
    """Make a dataset whose bytes lie in a system file."""
    file.create_dataset(name, (5,), "<f8", external=[("/etc/passwd", 0, 40)])


def virtual(file, name):
    """Make a dataset that is a view of another."""
    layout = h5py.VirtualLayout((5,), "<f8")
    layout[:] = h5py.VirtualSource(file["rounds/test_loss"])
    file.create_virtual_dataset(name, layout)


def huge(file, name):
    """Declare 8 TB of numbers, and store none."""
    file.create_dataset(name, (10**12,), "<f8", chunks=(1024,))


def zipped(file, name):
    """Store five numbers through a filter that is not ours."""
    file.create_dataset(name, data=np.zeros(5), compression="lzf")


def swelling(file, name):
    """Store one compressed piece of a megabyte, which becomes 256 when it is unpacked."""
    made = file.create_dataset(name, (5,), "<f8", chunks=(5,), compression="gzip")
    made.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 28), 1))


def objects(file, name):
    """Store texts of free length."""
    file.create_dataset(name, data=["a"] * 5)


def other_type(file, name):
    """Store five whole numbers of another size."""
    file.create_dataset(name, data=np.zeros(5, "<i2"))


def group(file, name):
    """Make a group."""
    file.create_group(name)


def longer(file, name):
    """Store a row too many."""
    file.create_dataset(name, data=np.zeros(6))


def scalar(file, name):
    """Store one number."""
    file.create_dataset(name, data=1.0)


@pytest.mark.parametrize("name", ["rounds/test_accuracy", "clients/kept", "phases/train"])
@pytest.mark.parametrize(
    "make",
    [outside, soft, external, virtual, huge, zipped, objects, other_type, group, longer, scalar],
)
def test_hostile_columns(path, name, make):
    swap(path, name, make)
    refused(path, "damaged", reader.open)


@pytest.mark.parametrize("name", ["devices/tier", "provenance/hosts", "model/conv1.bias"])
@pytest.mark.parametrize("make", [outside, soft, external, virtual, huge, zipped, objects])
def test_hostile_entries_of_open_groups(path, name, make):
    swap(path, name, make)
    refused(path, "damaged")


@pytest.mark.parametrize("name", ["rounds", "clients", "config/toml", "events/kind", "devices"])
def test_what_is_missing_is_named(path, name):
    with h5py.File(path, "r+") as file:
        del file[name]
    refused(path, f"/{name.split('/')[0]}")


def test_groups_in_a_circle(path):
    with h5py.File(path, "r+") as file:
        file["provenance/again"] = file["provenance"]
    refused(path, "/provenance has two names")


@pytest.mark.parametrize(("column", "value"), [
    ("rounds/test_accuracy", 1e308), ("clients/kept", -0.5), ("rounds/flops", -1),
    ("phases/train", np.inf), ("rounds/virtual_time", np.inf),
])
def test_values_that_cannot_be_are_refused(path, column, value):
    with h5py.File(path, "r+") as file:
        file[column][1] = value
    refused(path, f"/{column} holds")


@pytest.mark.parametrize("name", ["model", "provenance", "devices"])
def test_one_dataset_under_many_names_is_refused(path, name):
    with h5py.File(path, "r+") as file:
        file[f"{name}/big"] = np.zeros(6)
        file[f"{name}/again"] = file[f"{name}/big"]
    refused(path, "has two names")


def test_changed_weights_are_seen(path):
    with h5py.File(path, "r+") as file:
        file["model/conv1.bias"][0] += 1e-7
    refused(path, "the weights differ from their sha256")


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "{", '{"a": %s}' % ("9" * 5000)])
def test_hostile_configuration(path, text):
    with h5py.File(path, "r+") as file:
        del file["config/resolved"]
        file["config/resolved"] = np.bytes_(text)
    refused(path, "damaged")


def test_a_result_without_events_is_damaged_and_not_continued(path):
    with h5py.File(path, "r+") as file:
        del file["events"]
    with pytest.raises(ResultError, match="/events is missing"):
        Writer.reopen(path, 3)


def test_events_of_unequal_length(path):
    with h5py.File(path, "r+") as file:
        file["events/round"].resize(1, axis=0)
        file["events/round"][0] = 1
    refused(path, "the columns of /events differ in length")


FUZZ = """
import resource, sys
import numpy as np
from fedmpi.errors import ResultError
from tests.record.test_hostile import everything
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
good = open(sys.argv[1], "rb").read()
rng = np.random.default_rng(3)
refused = 0
for case in range(300):
    data = bytearray(good)
    for place in rng.integers(min(len(data), 20_000 if case % 2 else len(data)), size=4):
        data[place] = rng.integers(256)
    open(sys.argv[1] + ".bad", "wb").write(data)
    try:
        everything(sys.argv[1] + ".bad")
    except ResultError as error:
        refused += 1
        assert len(str(error)) < 400
print(refused)
"""


def test_three_hundred_damaged_files_neither_crash_nor_swell(path, run_python):
    done = run_python("-c", FUZZ, path, OPENBLAS_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150
