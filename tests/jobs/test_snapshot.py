"""The files of a job beside its result: their names, and their contents on a full disk."""

import os
import shlex
from pathlib import Path

import pytest

from fedmpi import cli
from fedmpi.cli.terminal import show_all
from fedmpi.errors import ResultError
from fedmpi.record import atomic
from fedmpi.scheduler import snapshot
from fedmpi.scheduler.options import Options
from fedmpi.scheduler.script import Script
from fedmpi.scheduler.snapshot import Snapshot


@pytest.mark.parametrize(("one", "other"), [
    ("lr=0.1", "lr=0.2"), ("a.h5", "a.hdf5"), (".h5", "b.h5"),
])  # fmt: skip
def test_results_of_different_names_share_no_job_and_no_log(tmp_path, one, other):
    made = Script("slurm", Options(), ["fedmpi"], ["srun"])
    kept = [snapshot.of(tmp_path / name) for name in (one, other)]
    logs = [snapshot.log_of(tmp_path / name) for name in (one, other)]
    assert kept[0].folder != kept[1].folder and logs[0] != logs[1]
    assert {path.parent for path in [kept[0].folder, *logs]} == {tmp_path}
    for name, log in zip((one, other), logs, strict=True):
        assert f'--output="{log}"' in made.one(kept[0], tmp_path / name, [])
    kept[0].keep("")
    kept[0].note("slurm", ["17"], [("-", ())])
    assert snapshot.state_of(tmp_path / one, {"PATH": ""}) == ("17", "")
    assert snapshot.state_of(tmp_path / other, {"PATH": ""}) is None


@pytest.mark.parametrize("out", [".", "/", ""])
def test_no_job_waits_to_write_a_folder(out):
    snapshot.check_no_job_waits(Path(out), {"PATH": ""})


@pytest.mark.parametrize("words", [
    ["submit", "a.toml", "-o", "a.h5"], ["sweep", "s.toml", "-o", "out", "--submit"],
])  # fmt: skip
def test_a_folder_whose_name_is_not_utf8_takes_jobs(tmp_path, monkeypatch, capsys, words):
    """Old file systems have names in Latin-1. The script names the folder by the same bytes."""
    folder = tmp_path / os.fsdecode(b"t\xfcst")
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "a.toml").write_text("")
    (folder / "s.toml").write_text('base = "a.toml"\n')
    for name, text in (("sbatch", 'cp "$2" here; echo 4711'), ("squeue", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    show_all()
    args = cli.parse(cli._parser(), words)
    assert not args.verb(args), capsys.readouterr().err
    assert b"config=" + shlex.quote(str(folder)).encode(errors="surrogateescape")[:-1] in (
        folder / "here").read_bytes()


def test_queued_jobs_keep_their_configuration_when_the_disk_fills_up(tmp_path, monkeypatch):
    kept = Snapshot(tmp_path / "sweep.job")
    kept.keep("whole\n", {"phones.csv": "all\n"})
    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "fsync", full)
        patch.setattr(Path, "write_text", full)
        with pytest.raises(ResultError, match=r"config\.toml: cannot be written: No space left"):
            kept.keep("whole\n", {"phones.csv": "all\n"})
    assert kept.config.read_text() == "whole\n"
    assert (kept.folder / "phones.csv").read_text() == "all\n"
    assert sorted(path.name for path in kept.folder.iterdir()) == ["config.toml", "phones.csv"]


def full(place, *_, **__):
    """Fail as a write to a full disk does, which empties a file that is opened for writing."""
    if isinstance(place, Path):
        place.write_bytes(b"")
    raise OSError(28, "No space left on device")
