"""Runs that another version of fedmpi began: continued only if the user wants that, and noted."""

import shutil

import h5py
import numpy as np
import pytest

import fedmpi
from fedmpi.errors import ResultError
from fedmpi.experiment import execute, versions
from fedmpi.record import reader
from tests.faults.job import run_here


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with the result file and the checkpoint of a run of two rounds."""
    folder = tmp_path_factory.mktemp("run")
    run_here(folder / "out.h5", rounds=2)
    return folder


@pytest.fixture
def out(folder, tmp_path):
    """Return the result file of a copy of this run."""
    return shutil.copytree(folder, tmp_path / "copy") / "out.h5"


def go_on(out, rounds, **how):
    """Add rounds to a run in this process; return the warnings in its file."""
    run_here(out, resume=True, overrides=[f"run.rounds={rounds}"], **how)
    with reader.open(out) as run:
        assert len(run.rounds) == rounds
        return [event["text"] for event in run.events if event["kind"] == "warning"]


def refusal(out, monkeypatch, **how):
    """Return why a run cannot go on, which is found before anything is built."""
    before = out.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(execute, "assemble", None)
        with pytest.raises(ResultError) as caught:
            go_on(out, 3, **how)
    assert out.read_bytes() == before
    return str(caught.value)


def test_a_run_of_another_version_goes_on_with_force_alone(out, monkeypatch):
    with h5py.File(out, "r+") as file:
        del file["provenance/fedmpi"]
        file["provenance/fedmpi"] = np.bytes_("0.0.9")
        width = int(file["provenance/engine/vector_width"][()])
        del file["provenance/engine/vector_width"]
        file["provenance/engine/vector_width"] = 999
    text = refusal(out, monkeypatch)
    assert text.startswith(f"{out}: fedmpi 0.0.9 wrote it, and fedmpi {fedmpi.__version__} may ")
    assert "resume it with fedmpi 0.0.9" in text and "--force" in text
    with pytest.warns(UserWarning, match="the engine is not that of the last start"):
        notes = go_on(out, 3, force=True)
    assert notes == [
        f"continued after a change: fedmpi (0.0.9 then, {fedmpi.__version__} now)",
        "the engine is not that of the last start, so last bits may differ: "
        f"vector_width (999 then, {width} now)",
    ]
    assert go_on(out, 4) == notes  # the facts are those of the last start


def test_another_state_of_a_checkout_is_noted(monkeypatch):
    kept = {"fedmpi": fedmpi.__version__, "git_commit": "a" * 40}
    for now, found in (("", []), ("a" * 40, []), ("b" * 40, ["b" * 12]),
                       ("a" * 40 + "-dirty", ["a" * 12 + "-dirty"])):
        monkeypatch.setattr(versions, "commit", lambda now=now: now)
        said = versions.other_code(kept)
        assert said == [f"commit of fedmpi ({'a' * 12} then, {text} now)" for text in found]
    assert versions.other_code({"git_commit": ""}) == []  # an installed package


@pytest.mark.parametrize(
    ("schema", "reason"),
    [("1.0", "new rounds need 1.6; run: fedmpi upgrade"),
     ("1.99", "this fedmpi writes 1.6; resume it with the fedmpi that wrote it, or a newer one")],
)
def test_a_file_of_another_schema_is_refused_before_anything_is_built(
    out, monkeypatch, schema, reason
):
    with h5py.File(out, "r+") as file:
        file.attrs["fedmpi_schema"] = np.bytes_(schema)
    assert f"has schema {schema}, {'and ' * (schema > '1.6')}{reason}" in refusal(out, monkeypatch)
