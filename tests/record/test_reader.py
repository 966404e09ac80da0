"""The reader: what a run tells, and every kind of file that must be refused in one line."""

import hashlib
import json

import h5py
import numpy as np
import pytest

from fedmpi.errors import ResultError
from fedmpi.record import reader, schema
from fedmpi.record.digest import weights_sha256
from tests.record import sample


@pytest.fixture
def path(tmp_path):
    """Return the name of a finished run of five rounds."""
    return sample.write(tmp_path / "out.h5")


def everything(path):
    """Read all that a Run offers."""
    with reader.open(path) as run:
        run.info(), run.toml, run.layer_names, run.model()
        for table in (run.rounds, run.clients, run.phases, run.layers, run.devices):
            for name in table:
                table[name]


def test_columns_by_name_and_by_attribute(path):
    run = reader.open(path)
    assert run.rounds.test_accuracy is run.rounds["test_accuracy"]
    assert (len(run.rounds), len(run.clients), run.phases.shape) == (5, 20, (5, 2))
    assert "flops" in run.clients and "flop" not in run.clients
    assert list(run.layers) == ["kept", "bytes_down", "bytes_up"]
    assert "virtual_time" in dir(run.rounds)
    with pytest.raises(KeyError, match="'flop' is no column of rounds: round, virtual_time"):
        run.rounds["flop"]
    with pytest.raises(AttributeError, match="'flop' is no column"):
        run.rounds.flop  # noqa: B018
    with pytest.raises(ValueError, match="read-only"):
        run.rounds.flops[0] = 1


def test_targets_by_hand(tmp_path):
    accuracy = [0.1, np.nan, 0.5, 0.8, 0.6]
    run = reader.open(sample.write(tmp_path / "a.h5", accuracy=accuracy, cohort=4))
    assert run.rounds_to(0.5) == 3
    assert run.time_to(0.5) == 30.0
    assert run.bytes_to(0.5, "up") == 3 * 4 * 1000
    assert run.bytes_to(0.5, "down") == 3 * 4 * 2000
    assert run.bytes_to(0.5) == 3 * 4 * 3000
    assert run.time_to(0.1) == 10.0
    assert run.time_to(0.7) == run.time_to(0.80) == 40.0
    assert run.rounds_to(0.81) is run.time_to(0.81) is run.bytes_to(0.81) is None
    with pytest.raises(ResultError, match="direction 'left' is not one of up, down, both"):
        run.bytes_to(0.5, "left")


def test_info_is_json(path):
    info = json.loads(json.dumps(reader.open(path).info(), allow_nan=False))
    assert info["weights_sha256"] == weights_sha256(sample.weights())
    assert (info["status"], info["rounds"], info["ranks"], info["clients"]) == ("finished", 5, 2, 6)
    assert (info["bytes_up"], info["bytes_down"]) == (20_000, 40_000)
    assert (info["virtual_time"], info["wall_time"]) == (50.0, 2.0)
    assert info["final_accuracy"] == info["best_accuracy"] == 1 - 0.9**5
    assert info["provenance"]["libraries"] == {"numpy": np.__version__}


def test_a_run_without_rounds(tmp_path):
    run = reader.open(sample.write(tmp_path / "a.h5", rounds=0, status="failed"))
    assert run.info()["final_accuracy"] is None
    assert run.rounds_to(0.0) is None
    with pytest.raises(ResultError, match="holds no weights, its status is failed"):
        run.model()


def test_what_is_open_does_not_change_under_the_reader(path):
    old = reader.open(path)
    sample.Writer.reopen(path, 2).commit()
    assert (len(old.rounds.flops), len(reader.open(path).rounds.flops)) == (5, 2)
    old.close()
    with pytest.raises(ResultError, match="has been closed; open it again"):
        old.clients.flops  # noqa: B018
    assert len(old.rounds.flops) == 5


def test_to_pandas(path):
    pytest.importorskip("pandas")
    run = reader.open(path)
    assert run.rounds.to_pandas()["virtual_time"].tolist() == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert run.clients.to_pandas()["status"].tolist()[:2] == ["completed", "late"]
    phases = run.phases.to_pandas()
    assert phases.loc[(3, 1), "wait"] == 3.0
    assert phases.index.names == ["row", "rank"]


def test_reading_loads_neither_mpi_nor_torch_nor_plots(path, run_python):
    code = (
        "import sys, fedmpi.record.reader as r, fedmpi.analysis.compare, fedmpi.analysis.curves,"
        "fedmpi.analysis.tables, fedmpi.analysis.draw, fedmpi.record.upgrade\n"
        "r.open(sys.argv[1]).info()\n"
        "slow = {'torch', 'mpi4py', 'numba', 'matplotlib', 'pandas', 'scipy', 'pydantic', 'rich'}\n"
        "sys.exit(str(slow & sys.modules.keys()) if slow & sys.modules.keys() else 0)"
    )
    done = run_python("-c", code, path)
    assert done.returncode == 0, done.stderr


def refused(path, message, read=everything):
    """Assert that reading ends in a ResultError of one short line that names the file."""
    with pytest.raises(ResultError, match=message) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300 + len(str(path)) and str(path) in text


def test_files_that_are_no_results(tmp_path):
    refused(tmp_path / "no.h5", "no such file")
    refused(tmp_path, "is a folder")
    for name, data in (("empty", b""), ("text", b"[run]\n"), ("half", b"\x89HDF\r\n\x1a\n" * 9)):
        file = tmp_path / name
        file.write_bytes(data)
        refused(file, "is not an HDF5 file|damaged")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    refused(tmp_path / "other.h5", "is HDF5, but no result of fedmpi")


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
        ("ranks", [2, 2]),
        ("ranks", 2.5),
    ],
)
def test_root_attributes_out_of_order(path, name, value):
    set_attribute(path, name, value)
    refused(path, "damaged")


def swap(path, name, make):
    """Put what make(file, name) makes in the place of an object."""
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
    """Store five numbers through a filter."""
    file.create_dataset(name, data=np.zeros(5), compression="gzip")


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
    refused(path, "nested too deeply")


@pytest.mark.parametrize("name", ["model", "provenance"])
def test_one_dataset_under_many_names_is_not_read_for_ever(path, name):
    with h5py.File(path, "r+") as file:
        file[f"{name}/big"] = np.zeros(100_000)
        for i in range(50):
            file[f"{name}/{i}"] = file[f"{name}/big"]
    refused(path, f"/{name} is larger than the file")


def test_changed_weights_are_seen(path):
    with h5py.File(path, "r+") as file:
        file["model/conv1.bias"][0] += 1e-7
    refused(path, "the weights differ from their sha256")


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "{", '{"a": %s}' % ("9" * 5000)])
def test_hostile_configuration(path, text):
    swap(path, "config/resolved", lambda file, name: file.create_dataset(name, data=np.bytes_(text)))
    refused(path, "damaged")


def test_events_of_unequal_length(path):
    with h5py.File(path, "r+") as file:
        file["events/round"].resize(1, axis=0)
        file["events/round"][0] = 1
    refused(path, "the columns of /events differ in length")


FUZZ = """
import resource, sys
import numpy as np
from fedmpi.errors import ResultError
from tests.record.test_reader import everything
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


def test_digest_by_hand():
    text = b"a\0<f4\x002\0" + np.array([1, 2], "<f4").tobytes() + b"b\0<i8\0\0" + bytes(8)
    arrays = {"b": np.zeros((), ">i8"), "a": np.array([1, 2], ">f4")}
    assert weights_sha256(arrays) == hashlib.sha256(text).hexdigest()
    turned = {"a": np.array([[1, 2], [3, 4]], "<f4").T}
    assert weights_sha256(turned) == weights_sha256({"a": np.array([[1, 3], [2, 4]], "<f4")})
    assert weights_sha256({"a": np.zeros(2)}) != weights_sha256({"a": np.zeros((2, 1))})
    assert len({weights_sha256({}), weights_sha256({"a": np.zeros(0)})}) == 2
