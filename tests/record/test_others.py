"""Result files read by other programs: pandas, xarray, h5dump, and plain h5py."""

import shutil
import subprocess

import h5py
import numpy as np
import pytest

import fedmpi
from tests.conftest import SOON
from tests.record import sample


@pytest.fixture
def out(tmp_path):
    """Return the path of a result of three rounds on two ranks, with three layers."""
    return sample.write(tmp_path / "a.h5", rounds=3)


def test_rounds_have_a_scale_and_every_dataset_a_unit_and_a_long_name(out):
    with h5py.File(out) as file:
        lacking = []

        def look(name, found):
            if isinstance(found, h5py.Dataset) and not name.startswith(("model/", "config/")):
                lacking.extend([name] * ("units" not in found.attrs))
                lacking.extend([name] * ("long_name" not in found.attrs))
                if name.startswith("rounds/") and not found.is_scale and not len(found.dims[0]):
                    lacking.append(f"{name} axis 0")

        file.visititems(look)
        assert not lacking
        assert [axis.label for axis in file["layers/kept"].dims] == ["round", "layer"]


def test_xarray_opens_the_file_by_itself(out):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    with xarray.open_dataset(out, group="rounds", engine="h5netcdf", phony_dims="sort") as found:
        assert found.test_accuracy.dims == ("round",)
        assert found["round"].values.tolist() == [0, 1, 2]
        assert found.virtual_time.attrs["units"] == "s"
    with xarray.open_dataset(out, group="layers", engine="h5netcdf", phony_dims="sort") as found:
        assert found.kept.shape == (3, 3)


def test_to_xarray_joins_rounds_layers_and_phases(out):
    pytest.importorskip("xarray")
    with fedmpi.open(out) as run:
        whole = run.to_xarray()
        assert dict(whole.sizes) == {"round": 3, "layer": 3, "rank": 2}
        kept = whole.layers_kept.sel(layer="fc1", round=2)
        assert kept.item() == 0.5 and kept.attrs["units"] == "1"
        assert np.array_equal(whole.virtual_time, run.rounds.virtual_time)
        assert '"fedavg"' in whole.attrs["config"]
        assert run.clients.to_xarray().bytes_up.dims == ("row",)


def test_pandas_takes_the_columns_without_fedmpi(out):
    pandas = pytest.importorskip("pandas")
    with h5py.File(out) as file:
        frame = pandas.DataFrame({name: column[:] for name, column in file["rounds"].items()})
    assert frame["bytes_up"].tolist() == [4000] * 3 and frame["round"].tolist() == [0, 1, 2]


def test_h5dump_shows_a_column(out):
    if not shutil.which("h5dump"):
        pytest.skip("h5dump is not installed (Debian: hdf5-tools)")
    done = subprocess.run(["h5dump", "-d", "/rounds/bytes_up", str(out)], capture_output=True,
                          text=True, timeout=SOON)
    assert done.returncode == 0 and "(0): 4000, 4000, 4000" in done.stdout
