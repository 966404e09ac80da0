"""The table of columns, its printed form, and what the contract asks of it."""

from pathlib import Path

import h5py
import numpy as np

from fedmpi.record import reader, schema
from fedmpi.record.writer import Writer
from tests.record import sample

FOLDER = Path(schema.__file__).parent

ROUNDS = """round virtual_time wall_time train_loss test_loss test_accuracy local_accuracy
    own_mean_accuracy
    clients_selected clients_completed bytes_down bytes_up bytes_up_values bytes_up_support flops
    flops_inference joules co2_g epsilon density_up density_union model_density mpi_bytes collective
    collective_regret memory_peak"""
CLIENTS = """round client rank samples steps virtual_start virtual_end seconds_down seconds_compute
    seconds_up bytes_down bytes_up flops joules kept status train_loss"""
PHASES = "move train reduce step evaluate record wait"


def test_schema_md_is_the_printed_table():
    printed = "from fedmpi.record import schema as s; print(s.manual(), end='')"
    assert (FOLDER / "SCHEMA.md").read_text(encoding="utf-8") == schema.manual(), (
        f'python -c "{printed}" > fedmpi/record/SCHEMA.md'
    )


def test_the_promised_columns_are_there():
    assert [c.name for c in schema.ROUNDS] == ROUNDS.split()
    assert [c.name for c in schema.CLIENTS] == CLIENTS.split()
    assert [c.name for c in schema.PHASE_COLUMNS] == PHASES.split() == list(schema.PHASES)
    attributes = {"fedmpi_schema", "software_version", "status", "rounds", "created", "ranks"}
    assert attributes <= {c.name for c in schema.ROOT}


def test_paths_are_unique_and_all_columns_explain_themselves():
    paths = [c.path for c in schema.COLUMNS]
    assert len(set(paths)) == len(paths)
    assert all(c.meaning and (c.unit or c.dtype == schema.TEXT) for c in schema.COLUMNS)


def test_the_file_holds_the_table_and_nothing_else(tmp_path):
    path = sample.write(tmp_path / "a.h5", rounds=3)
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item}))
        groups = {"provenance", "devices", "model"}
        found = {k: v for k, v in found.items()
                 if isinstance(v, h5py.Dataset) and k.split("/")[0] not in groups}
        assert found.keys() == {c.path for c in schema.COLUMNS if c.group}
        assert file.attrs.keys() == {c.name for c in schema.ROOT}
        for column in schema.COLUMNS:
            if column.group:
                dataset = found[column.path]
                assert dataset.attrs["unit"].decode() == column.unit
                assert dataset.attrs["meaning"].decode() == column.meaning
            if column.group and column.dtype != schema.TEXT:
                assert dataset.dtype == np.dtype(column.dtype)
                assert dataset.dtype.byteorder in "=<|"


def test_text_has_a_fixed_length_that_every_tool_reads(tmp_path):
    path = sample.write(tmp_path / "a.h5")
    with h5py.File(path) as file:
        for name in ("config/toml", "config/resolved", "layers/names", "events/text"):
            info = h5py.check_string_dtype(file[name].dtype)
            assert (info.encoding, info.length is None) == ("utf-8", False)
        assert file["config/toml"][()].decode() == sample.TOML


def test_other_programs_find_units_names_and_the_axis_of_the_rounds(tmp_path):
    path = sample.write(tmp_path / "a.h5")
    Writer.reopen(path, 3, ranks=4)  # makes /phases again
    with h5py.File(path) as file:
        found = []
        file.visititems(lambda name, thing: found.append(thing))
        for dataset in found:
            if isinstance(dataset, h5py.Dataset):
                assert {"units", "long_name"} <= set(dataset.attrs), dataset.name
        for name in ("rounds/flops", "phases/train", "layers/kept"):
            assert file[name].fletcher32
        assert file["rounds/flops"].dims[0].keys() == ["round"]
        assert [axis.label for axis in file["phases/train"].dims] == ["round", "rank"]
        assert not file["rounds/round"].dims[0].keys() and file["rounds/round"].is_scale


def test_every_column_of_the_devices_has_its_unit_and_a_meaning(tmp_path):
    texts, numbers = {"tier": ["fast", "slow"] * 3}, dict.fromkeys(set(schema.DEVICES) - {"tier"})
    assert {"memory_mb", "power_w", "idle_w", "joule_per_mb", "shift_s", "trace"} <= set(numbers)
    fixed = sample.fixed() | {"devices": texts | {name: np.ones(6) for name in numbers}}
    Writer.create(tmp_path / "a.h5", **fixed)
    with h5py.File(tmp_path / "a.h5") as file:
        units = {name: file["devices"][name].attrs["units"].decode() for name in numbers}
        for name in numbers:
            assert file["devices"][name].attrs["long_name"].decode() != name.replace("_", " ")
        engine = file["provenance/libraries/numpy"].attrs["long_name"].decode()
    assert engine == "libraries numpy of the run"
    ends = {"_mb": ("MB", "J/MB"), "_w": ("W",), "_s": ("s", "Gflop/s", "Mbit/s")}
    for name, unit in units.items():
        end = next((end for end in ends if name.endswith(end)), None)
        assert unit in (("1",) if end is None else ends[end]), name
    run = reader.open(tmp_path / "a.h5")
    assert run.devices.to_xarray()["power_w"].attrs["units"] == "W"
