"""The lowest rank that still moves names each rank that stands still, once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fedmpi.comm.base import Serial
from fedmpi.experiment.watch import COMM, Watch, _state, watching
from fedmpi.round.progress import Progress


class Node(Serial):
    """One rank of a node with three, which share `signs`; the node's ranks are 4, 5 and 6."""

    size, node_size = 9, 3

    def __init__(self, node_rank, signs):
        self.node_rank, self.rank, self.signs = node_rank, 4 + node_rank, signs

    def node_zeros(self, shape, dtype):
        assert self.signs.shape == shape and self.signs.dtype == dtype
        return self.signs


@pytest.fixture
def watches():
    """Return three watches on one node, each with the list of its messages."""
    signs, made = np.zeros((3, 6), np.int64), []
    for rank in range(3):
        said = []
        made.append((Watch(Node(rank, signs), 60.0, said.append), said))
    return made


def pass_seconds(watches, start, seconds, stopped=()):
    """Let the ranks that are not stopped tick and look, once a second."""
    for now in range(start, start + seconds):
        for rank, (watch, _) in enumerate(watches):
            if rank not in stopped:
                watch.tick()
                watch.look(float(now))
    return start + seconds


def test_nothing_is_said_of_ranks_that_are_well(watches):
    pass_seconds(watches, 0, 1000)
    assert not any(said for _, said in watches)


def test_a_stopped_rank_is_named_once_by_the_lowest(watches):
    watches[2][0].note(5, 17)
    now = pass_seconds(watches, 0, 10)
    now = pass_seconds(watches, now, 59, stopped={2})
    assert not watches[0][1]
    now = pass_seconds(watches, now, 200, stopped={2})
    (text,) = watches[0][1]
    assert text.startswith("rank 6 on ") and "has not moved for 60 s (round 5, client 17)" in text
    assert not watches[1][1] and not watches[2][1]
    assert watches[0][0].take_news() == [text] and watches[0][0].take_news() == []


def test_the_next_speaks_when_the_lowest_is_stopped(watches):
    now = pass_seconds(watches, 0, 10)
    pass_seconds(watches, now, 100, stopped={0, 2})
    assert [text.split(" on ")[0] for text in watches[1][1]] == ["rank 4", "rank 6"]
    assert not watches[0][1]


def test_a_rank_that_goes_on_and_stops_again_is_named_again(watches):
    now = pass_seconds(watches, 0, 100, stopped={1})
    now = pass_seconds(watches, now, 100)
    assert len(watches[0][1]) == 1
    assert not watches[1][1]  # it does not name the ranks that waited for it
    pass_seconds(watches, now, 100, stopped={1})
    assert len(watches[0][1]) == 2


def test_the_system_says_what_a_silent_process_does():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert _state(process.pid) in "RS"
        process.send_signal(signal.SIGSTOP)
        while _state(process.pid) != "T":
            time.sleep(0.01)
    finally:
        process.kill()
    while _state(process.pid) != "Z":
        time.sleep(0.01)
    process.wait()
    assert _state(process.pid) == ""


def test_what_is_known_of_a_stopped_process_is_told(watches, monkeypatch):
    for state, words in (("T", f"kill -CONT {os.getpid()} lets it go on"), ("D", "a disk")):
        monkeypatch.setattr("fedmpi.experiment.watch._state", lambda process: state)  # noqa: B023
        now = pass_seconds(watches, 0 if state == "T" else 1000, 10)
        pass_seconds(watches, now, 100, stopped={1})
        assert words in watches[0][1][-1]
    assert len(watches[0][1]) == 2


def frame_in(*paths):
    """Return a frame as the interpreter shows them; the innermost place comes first."""
    frame = None
    for path in reversed(paths):
        code = SimpleNamespace(co_filename=path, co_name="function")
        frame = SimpleNamespace(f_code=code, f_lineno=3, f_back=frame)
    return frame


def inside(watch, start, seconds, frame, steps=False):
    """Let the main thread be at `frame` for some seconds, with a step in each or with none."""
    for now in range(start, start + seconds):
        if steps:
            watch.step()
        watch.look_inside(float(now), frame)
    return start + seconds


def test_a_main_thread_that_makes_no_step_is_named_once_with_its_place(watches):
    watch, said = watches[1]
    watch.note(5, 17)
    now = inside(watch, 0, 1000, frame_in("/a/own.py", "/b/trainer.py"), steps=True)
    now = inside(watch, now, 299, frame_in("/a/own.py", "/b/trainer.py"))
    assert not said
    now = inside(watch, now, 1000, frame_in("/a/own.py", "/b/trainer.py"))
    (text,) = said
    assert text.startswith("rank 5 on ") and "no step for 300 s (round 5, client 17)" in text
    assert f"process {os.getpid()} is at own.py:3 function, trainer.py:3 function" in text
    now = inside(watch, now, 1, frame_in("/a/own.py"), steps=True)
    inside(watch, now, 301, frame_in("/a/own.py"))
    assert len(said) == 2


def test_the_code_that_waits_inside_pythons_own_is_named(watches):
    """pathlib of Python 3.13 has three places of its own for `exists`."""
    watch, said = watches[1]
    own = [os.__file__, os.__file__, "<frozen genericpath>"]
    site = str(Path(os.__file__).parent / "site-packages/lib/part.py")
    inside(watch, 0, 1000, frame_in(*own, site, "/a/own.py"))
    assert said[0].endswith(" is at os.py:3 function, part.py:3 function, own.py:3 function")


def test_a_main_thread_that_waits_for_others_is_well(watches):
    watch, said = watches[1]
    inside(watch, 0, 5000, frame_in(f"{COMM}/mpi.py", "/a/rounds.py"))
    inside(watch, 5000, 5000, None)
    assert not said


def test_whoever_wants_no_watch_has_none():
    with watching(Serial(), 0.0, None) as watch:
        assert isinstance(watch, Progress)
        watch.note(3, 4)
        watch.step()
        assert watch.take_news() == []


def test_a_rank_that_is_alone_watches_itself():
    said = []
    with watching(Serial(), 0.1, said.append) as watch:
        watch.note(3, 4)
        end = time.monotonic() + 20
        while not said and time.monotonic() < end:
            time.sleep(0.05)
    (text,) = said
    assert "no step for 0.5 s (round 3, client 4)" in text and "test_watch.py" in text
