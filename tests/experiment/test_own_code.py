"""User code that changed between run and resume is named, as are modules beside it."""

import json
import sys

import pytest

from fedmpi.errors import ConfigError, ResultError
from fedmpi.experiment import resolve
from fedmpi.experiment.earlier import Earlier
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


def test_a_key_that_own_code_no_longer_has_is_refused_with_the_remedy():
    found = resolve.resolve("", "exp.toml", ["algorithm.name=tests.faults.own:Plain"])
    values = json.loads(json.dumps(found.values()))
    begun = Earlier("", values)
    assert begun.resolved("out.h5", allow_code=True).config == found.config
    values["algorithm"]["share"] = 0.5
    with pytest.raises(ConfigError) as caught:
        begun.resolved("out.h5", allow_code=True)
    first, second = str(caught.value).splitlines()
    assert first.startswith("out.h5: algorithm.share: unknown key; known keys with tests.faults")
    assert second.startswith("the run began with this key: put back the code that knows it")
    values["algorithm"]["name"] = "fedavg"  # no code of the user's can have changed
    with pytest.raises(ConfigError, match=r"^out.h5: algorithm.share: unknown key; .*$"):
        begun.resolved("out.h5", allow_code=True)
