"""A run that is continued to more rounds on a schedule over the rounds: told, kept, compared."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import fedmpi
from fedmpi import algorithms
from fedmpi.algorithm import ALGORITHMS
from fedmpi.analysis.compare import compare
from fedmpi.analysis.configs import alike
from tests.test_returned import TREE

FOLDER = Path(algorithms.__file__).parent
READS = {path.stem for path in FOLDER.glob("*.py") if "setting.rounds" in path.read_text()}


def run(out, name, rounds):
    """Run a small experiment and return its Run."""
    tree = TREE | {"algorithm": {"name": name}, "run": TREE["run"] | {"rounds": rounds}}
    return fedmpi.run(tree, out=out)


def test_the_methods_that_read_the_number_of_rounds_say_so():
    """Candidates reads it only for a check."""
    found = {name for name in ALGORITHMS if ALGORITHMS[name].scheduled}
    assert found == {"dpf", "feddip", "feddst", "fedmef", "fedrts", "fedsgc", "fedspa", "fedtiny"}
    assert READS - {"candidates"} == found
    for name in found:
        import_module(f"fedmpi.algorithms.{name}")


def test_a_continued_schedule_is_told_and_no_repeat_of_an_unbroken_one(tmp_path):
    whole = run(tmp_path / "whole.h5", "feddst", 4)
    run(tmp_path / "parts.h5", "feddst", 2)
    fault = "which was 2 for the first 2 rounds and is 4 from now on; this is a different"
    with pytest.warns(UserWarning, match=fault):
        parts = fedmpi.resume(tmp_path / "parts.h5", ["run.rounds=4"])
    assert any(re.search(fault, event["text"]) for event in parts.events)
    assert parts.provenance["schedule"] == ["for 2 rounds up to round 2"]
    assert alike([whole, parts]) == [[whole], [parts]]
    said = "Beware: parts has a schedule over the rounds, which was for 2 rounds up to round 2 and"
    assert any(said in note for note in compare([whole, parts]).notes)
    with pytest.warns(UserWarning, match="which was 4 for the first 4 rounds and is 5"):
        later = fedmpi.resume(tmp_path / "parts.h5", ["run.rounds=5"])
    assert later.provenance["schedule"] == [
        "for 2 rounds up to round 2", "for 4 rounds up to round 4"]


def test_other_methods_and_runs_that_had_not_begun_are_continued_as_they_were(tmp_path):
    whole = run(tmp_path / "whole.h5", "fedavg", 3)
    run(tmp_path / "parts.h5", "fedavg", 2)
    parts = fedmpi.resume(tmp_path / "parts.h5", ["run.rounds=3"])  # without a warning
    assert "schedule" not in parts.provenance and alike([whole, parts]) == [[whole, parts]]
    assert not any("Beware" in note for note in compare([whole, parts]).notes)
