"""A rank whose launcher dies does not outlive it for long."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import ROOT

RANK = """
import os, sys, time
from fedmpi.comm.orphan import dying_with_parent, end_with
def wait():
    print(os.getpid(), flush=True)
    time.sleep(60)
if sys.argv[1] == "init":
    with dying_with_parent():
        wait()
elif sys.argv[1] == "run":
    end_with(os.getppid())
    wait()
else:
    with dying_with_parent():
        pass
    wait()
"""
LAUNCHER = """
import subprocess, sys, time
rank = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]])
time.sleep(60)
"""


@pytest.mark.parametrize(("where", "ends"), [("init", True), ("run", True), ("after", False)])
def test_what_a_dead_launcher_leaves(where, ends):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", LAUNCHER, RANK, where]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=env) as launcher:
        rank = psutil.Process(int(launcher.stdout.readline()))
        launcher.kill()
        launcher.wait()
        began = time.monotonic()
        while rank.is_running() and time.monotonic() < began + (5 if ends else 0.5):
            time.sleep(0.02)
        assert rank.is_running() != ends
        if not ends:
            rank.kill()
        said = launcher.stdout.read()
        assert said == ("fedmpi: the launcher of this rank has died, so the rank ends\n"
                        if where == "run" else "")
