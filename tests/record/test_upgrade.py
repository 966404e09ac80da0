"""Old schemas: each can be upgraded to the newest, and no value is lost."""

import h5py
import numpy as np
import pytest

from fedmpi.errors import ResultError
from fedmpi.record import reader, schema, upgrade
from fedmpi.record.deferred import DeferringFile
from fedmpi.record.lock import locked
from fedmpi.record.source import DiskFile
from fedmpi.record.writer import Writer
from tests.record import sample


def test_the_newest_schema_is_left_alone(tmp_path):
    path = sample.write(tmp_path / "out.h5")
    before = path.read_bytes()
    assert upgrade.upgrade(path) == schema.VERSION
    assert path.read_bytes() == before


def make_old(path):
    """Write a file of an invented schema 0.5, in which a column had another name."""
    sample.write(path)
    with h5py.File(path, "r+") as file:
        file.attrs["fedmpi_schema"] = np.bytes_("0.5")
        file.move("rounds/flops", "rounds/operations")


def test_a_file_of_schema_1_0_is_read_without_the_new_column_and_upgraded_with_it(tmp_path):
    path = sample.write(tmp_path / "out.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["fedmpi_schema"] = np.bytes_("1.0")
        for column in schema.SINCE:
            del file[column]
    with reader.open(path) as run:
        assert "flops_inference" not in run.rounds and len(run.rounds.flops) == 5
        assert "move" not in run.phases and run.info()["phases"]["move"] == 0
        shares = run.info()["phases"]
    with pytest.raises(ResultError, match="fedmpi upgrade"):
        Writer.reopen(path, 5)
    before = {name: reader.open(path).rounds[name].tolist() for name in ("round", "bytes_up")}
    assert upgrade.upgrade(path) == "1.0"
    with h5py.File(path) as file:  # all is under checksums, in the order of before
        assert file["rounds/flops"].fletcher32 and file["rounds/flops"].compression == "gzip"
        assert file["rounds/flops"].dims[0].keys() == ["round"]
        assert file["config/toml"].id.get_create_plist().get_layout() == h5py.h5d.COMPACT
        assert list(file["model"]) == list(sample.weights())
    with reader.open(path) as run:
        assert run.schema == schema.VERSION
        assert np.isnan(run.rounds.flops_inference).tolist() == [True] * 5
        assert np.isnan(run.rounds.joules).all() and np.isnan(run.clients.joules).all()
        assert run.info()["memory_peak"] is None
        assert np.isnan(run.phases.move).all() and run.phases.move.shape == (5, 2)
        assert run.info()["phases"] == shares
        assert len(run.clients.joules) == len(run.clients.flops)
        assert {name: run.rounds[name].tolist() for name in before} == before
    Writer.reopen(path, 5)


@pytest.mark.parametrize("version", ["1.99", "2.0"])
def test_a_newer_file_is_left_to_a_newer_fedmpi(tmp_path, version):
    path = sample.write(tmp_path / "out.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["fedmpi_schema"] = np.bytes_(version)
    before = path.read_bytes()
    with pytest.raises(ResultError, match=f"schema {version}, newer than .* a newer fedmpi"):
        upgrade.upgrade(path)
    assert path.read_bytes() == before


def test_an_old_file_goes_through_all_steps(tmp_path, monkeypatch):
    make_old(tmp_path / "out.h5")

    def first(file):
        file.move("rounds/operations", "rounds/flops")
        file.attrs["fedmpi_schema"] = np.bytes_("0.9")

    def second(file):
        file.attrs["fedmpi_schema"] = np.bytes_(schema.VERSION)

    monkeypatch.setattr(upgrade, "STEPS", {"0.5": first, "0.9": second})
    assert upgrade.upgrade(tmp_path / "out.h5") == "0.5"
    assert len(reader.open(tmp_path / "out.h5").rounds.flops) == 5


def test_a_failed_step_changes_nothing(tmp_path, monkeypatch):
    make_old(tmp_path / "out.h5")
    before = (tmp_path / "out.h5").read_bytes()

    def fail(file):
        del file["rounds"]
        raise OSError("no space")

    monkeypatch.setattr(upgrade, "STEPS", {"0.5": fail})
    with pytest.raises(ResultError, match="no space"):
        upgrade.upgrade(tmp_path / "out.h5")
    assert (tmp_path / "out.h5").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.h5"]


def test_a_file_that_a_run_writes_is_not_changed(tmp_path):
    sample.write(tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5", "r+") as file:
        file.attrs["fedmpi_schema"] = np.bytes_("1.0")
    before = (tmp_path / "out.h5").read_bytes()
    with locked(tmp_path / "out.h5"), pytest.raises(ResultError, match="is writing it"):
        upgrade.upgrade(tmp_path / "out.h5")
    assert (tmp_path / "out.h5").read_bytes() == before


def test_unknown_schemas_are_refused(tmp_path):
    make_old(tmp_path / "out.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(ResultError, match="is HDF5, but not a result of fedmpi"):
        upgrade.upgrade(tmp_path / "foreign.h5")
    with pytest.raises(ResultError, match=r"schema 0.5 cannot be upgraded; known are 1.0"):
        upgrade.upgrade(tmp_path / "out.h5")


def test_a_file_with_an_attribute_of_the_users_own_is_upgraded(tmp_path):
    """HDF5 then reads ahead, beyond the end of a file that it has not yet written to the end."""
    path = sample.write(tmp_path / "out.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["fedmpi_schema"] = np.bytes_("1.3")
        for column in schema.SINCE:
            if schema.SINCE[column] > "1.3":
                del file[column]
    with h5py.File(path, "r+") as file:
        file.attrs["mine"] = 5
    assert upgrade.upgrade(path) == "1.3"
    with reader.open(path) as run, h5py.File(path) as file:
        assert run.info()["rounds"] == 5 and file.attrs["mine"] == 5


@pytest.mark.parametrize("opened", [lambda path: DeferringFile(path, new=False), DiskFile])
def test_bytes_beyond_the_end_are_zeros_as_in_files_that_hdf5_opens_itself(tmp_path, opened):
    path = tmp_path / "a"
    path.write_bytes(b"1234")
    disk = opened(str(path))
    disk.seek(2)
    assert disk.read(5) == b"34\0\0\0"
    disk.close()


def outside(file):
    """Take values from another file."""
    file.create_dataset("provenance/odd", (4,), "u1", external=[("/proc/version", 0, 4)])


def huge(file):
    """Declare more values than the file holds."""
    file.create_dataset("provenance/odd", (10**12,), "f8", chunks=(1000,))


def elsewhere(file):
    """Point to a part of the file."""
    file["provenance/odd"] = h5py.SoftLink("/rounds/flops")


@pytest.mark.parametrize("change", [outside, huge, elsewhere])
def test_what_readers_refuse_is_not_upgraded(tmp_path, change):
    path = sample.write(tmp_path / "out.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["fedmpi_schema"] = np.bytes_("1.5")
        del file["phases/move"]
        change(file)
    before = path.read_bytes()
    with pytest.raises(ResultError, match=r"out\.h5: damaged, or not a result .*/odd"):
        upgrade.upgrade(path)
    assert path.read_bytes() == before


def test_attributes_of_the_users_own_stay_with_their_values(tmp_path):
    path = sample.write(tmp_path / "out.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["fedmpi_schema"] = np.bytes_("1.3")
        del file["phases/move"], file["rounds/memory_peak"]
        file["config/toml"].attrs["mine"] = [1.5, 2.5]
        file["config/toml"].attrs["word"] = "a text"
    upgrade.upgrade(path)
    with h5py.File(path) as file:
        assert file["config/toml"].attrs["mine"].tolist() == [1.5, 2.5]
        assert file["config/toml"].attrs["word"] == "a text"
        assert file["config/toml"].attrs["unit"] == np.bytes_("")
