"""Five hundred damaged inputs of every format; `make soak` tries a hundred thousand of each."""

import ast
import os
import re

import pytest

from tests.fuzz.formats import FORMATS
from tests.test_rules import CODE, dotted

CASES = int(os.environ.get("FEDMPI_FUZZ_CASES", "500"))
SLOW = {"shown": 10}  # parts of these cases that are tried


@pytest.mark.timeout(60 + CASES)
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_input_is_read_or_refused(run_python, name, tmp_path):
    """No crash, no hang, no memory beyond the limit, no error but fedmpi's own."""
    cases = CASES // SLOW.get(name, 1)
    done = run_python("-m", "tests.fuzz", name, cases, timeout=60 + CASES)
    assert done.returncode == 0, done.stderr[-3000:]
    outcome = ast.literal_eval(done.stdout)
    assert sum(outcome.values()) == cases
    assert min(outcome.values()) > 0  # the damage is neither too much nor too little
    assert not list(tmp_path.iterdir())


def calls(tree):
    """Yield the calls in a syntax tree."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_nothing_that_is_read_can_hold_a_program():
    found = []
    for source in CODE:
        for call in calls(ast.parse(source.text)):
            name = dotted(call.func)
            keys = {key.arg: getattr(key.value, "value", None) for key in call.keywords}
            if name in ("np.load", "numpy.load") and keys.get("allow_pickle") is not False:
                found.append(f"{source.path}:{call.lineno}: np.load without allow_pickle=False")
            if keys.get("allow_pickle"):
                found.append(f"{source.path}:{call.lineno}: allow_pickle")
            if re.match(r"(self\.(raw|node)|MPI\.COMM_\w+)\.[a-z]", name):
                found.append(f"{source.path}:{call.lineno}: mpi4py sends {name} as a pickle")
    assert not found
