"""The processor of every rank is kept, and a run that mixes kinds of them says so."""

import shlex

import h5py
import numpy as np
import pytest

import fedmpi
from fedmpi.cli import all_nodes
from fedmpi.comm.base import Serial
from fedmpi.doctor import processors
from fedmpi.experiment import provenance
from fedmpi.record import reader

CONFIG = """
[run]
rounds = 2
[clients]
number = 4
per_round = 2
local_steps = 1
batch_size = 8
"""
OLD = "model name\t: Old Processor\nflags\t\t: fpu sse2\n"


def warnings_of(path):
    with reader.open(path) as run:
        return [event["text"] for event in run.events if event["kind"] == "warning"]


def test_a_run_that_continues_on_another_kind_says_so(main, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.toml").write_text(CONFIG)
    (tmp_path / "cpuinfo").write_text(OLD)
    out = str(tmp_path / "a.h5")
    with monkeypatch.context() as other:
        other.setattr(provenance, "CPUINFO", tmp_path / "cpuinfo")
        assert main(["run", str(tmp_path / "a.toml"), "-o", out, "--quiet"]) == 0
    run = fedmpi.open(out)
    assert run.provenance["cpu"] == ["Old Processor"]
    assert run.provenance["instructions"] == ["x86-64"]
    assert warnings_of(out) == []
    assert main(["resume", out, "--set", "run.rounds=3", "--quiet"]) == 0
    (warning,) = warnings_of(out)
    assert "this run began on Old Processor (x86-64) and continues on" in warning
    assert warning in capsys.readouterr().err.replace("fedmpi: warning: ", "")


def test_damaged_facts_are_refused_by_name(main, tmp_path, capsys):
    (tmp_path / "a.toml").write_text(CONFIG)
    out = str(tmp_path / "a.h5")
    assert main(["run", str(tmp_path / "a.toml"), "-o", out, "--quiet"]) == 0
    for name in provenance.COMPARED:
        with h5py.File(out, "r+") as file:
            there = f"provenance/{name}" in file  # not every run has a schedule
            if there:
                file.move(f"provenance/{name}", "whole")
            file[f"provenance/{name}"] = 3
        assert main(["resume", out, "--set", "run.rounds=3", "--quiet"]) == 1
        assert f"damaged, /provenance/{name} is '3'" in capsys.readouterr().err
        with h5py.File(out, "r+") as file:
            del file[f"provenance/{name}"]
            if there:
                file.move("whole", f"provenance/{name}")
    assert main(["resume", out, "--set", "run.rounds=3", "--quiet"]) == 0


def test_the_command_can_be_typed_again():
    words = ("fedmpi", "run", "a b.toml", "--set", 'run.name="x"')
    assert shlex.split(provenance.provenance(Serial(), {}, words)["command"]) == list(words)


@pytest.mark.parametrize(("second", "found"), [("x86-64-v3", False), ("x86-64-v4", True)])
def test_a_run_over_two_kinds_says_so(second, found):
    facts = {"hosts": ["n1", "n2"], "cpu": ["EPYC", "EPYC"], "instructions": ["x86-64-v3", second]}
    text = provenance.mixture(facts)
    assert bool(text) == found
    assert ("EPYC (x86-64-v4) on n2" in text) == found
    assert np.unique(provenance.kinds(facts)).size == 1 + found


def test_a_processor_may_have_any_name(monkeypatch):
    """A hypervisor chooses it, and its bytes may be no UTF-8."""
    name = "Vendor\ufffd® " + "é" * 70
    monkeypatch.setattr(processors, "described", lambda *_: f"model name\t: {name}\nflags\t: fma\n")
    (found,) = provenance.provenance(Serial(), {}, [])["cpu"]
    assert found.startswith("Vendor\ufffd® éé")
    assert all(found.line() for found in all_nodes.nodes(Serial(), 1) if found)
