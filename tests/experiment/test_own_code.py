"""User code that changed between run and resume is named, as are modules beside it."""

import sys

import pytest

from fedmpi.errors import ResultError
from fedmpi.record import reader
from tests.faults.job import run_here

METHOD = """
import beside_mine
import fedmpi


class Mine(beside_mine.Base):
    pass
"""
BASE = """
import fedmpi


class Base(fedmpi.Algorithm):
    def plan(self, state, round, client):
        everything = fedmpi.Support.all(self.layout)
        return fedmpi.Plan(down=everything, up=everything)
"""


def test_a_module_that_own_code_imports_is_part_of_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    out, base = tmp_path / "out.h5", tmp_path / "beside_mine.py"
    (tmp_path / "of_mine.py").write_text(METHOD)
    base.write_text(BASE)
    run_here(out, overrides=["algorithm.name=of_mine:Mine"], rounds=2)
    for name in ("of_mine", "beside_mine"):
        monkeypatch.delitem(sys.modules, name)
    with reader.open(out) as run:
        assert set(run.provenance["code"]) == {"of_mine", "beside_mine"}
    base.write_text(BASE + "# other\n")
    with pytest.raises(ResultError, match=r"out.h5: beside_mine .*changed since the run began"):
        run_here(out, overrides=["run.rounds=3"], resume=True)
    run_here(out, overrides=["run.rounds=3"], resume=True, force=True)
    with reader.open(out) as run:
        assert any("beside_mine" in event["text"] for event in run.events)
