"""The times at which rows enter the file, their cost, and files on a full disk."""

import pytest

from fedmpi.record import reader, store, writer
from fedmpi.record.writer import Writer
from tests.record import sample


@pytest.fixture
def path(tmp_path):
    """Return the name of a file that is not there yet."""
    return tmp_path / "out.h5"


@pytest.fixture
def new(path):
    """Return a Writer of an empty file."""
    return Writer.create(path, **sample.fixed())


def test_commits_take_half_a_per_cent_of_the_time(new, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(writer, "perf_counter", lambda: now[0])
    extend = store.extend_events

    def slow(*arguments):
        now[0] += 2.0  # each commit takes two seconds
        extend(*arguments)

    monkeypatch.setattr(store, "extend_events", slow)
    new._since = 0.0
    commits = 0
    for number in range(2000):
        now[0] += 1.0
        new.append(*sample.one_round(number))
        commits += new.commit_if_due()
    assert 0.0025 < 2.0 * commits / now[0] <= 0.0051
    assert not new.commit_if_due()


def test_nothing_new_is_no_reason_to_commit(new, path, monkeypatch):
    monkeypatch.setattr(writer, "PAUSE", 0.0)
    before = path.stat().st_mtime_ns
    assert not new.commit_if_due()
    assert path.stat().st_mtime_ns == before
    new.event("warning", "smoke")
    assert new.commit_if_due()


def test_rows_in_memory_are_bounded(new, path, monkeypatch):
    monkeypatch.setattr(writer, "BUFFER", 100_000)
    for number in range(60):
        new.append(*sample.one_round(number, cohort=100))
        assert new._bytes <= 100_000
        assert sum(a.nbytes for rows in new._rows.values() for a in rows) == new._bytes
    assert 50 < len(reader.open(path).rounds) <= 60


def test_ten_thousand_rounds_stay_cheap(new, path, monkeypatch):
    commits = []
    commit = Writer.commit
    monkeypatch.setattr(Writer, "commit", lambda self: (commits.append(self.rounds), commit(self)))
    start = writer.perf_counter()
    for number in range(10_000):
        new.append(*sample.one_round(number, cohort=2))
        new.commit_if_due()
    seconds = writer.perf_counter() - start
    new.finish("stopped")
    assert len(commits) <= seconds / writer.PAUSE + 1
    run = reader.open(path)
    assert (len(run.rounds), len(run.clients)) == (10_000, 20_000)
    assert path.stat().st_size < 10e6  # 520 bytes a round and two rows of clients


def test_a_small_run_makes_a_small_file(path):
    sample.made(path, rounds=20, cohort=20)
    assert path.stat().st_size < 200_000


FULL_DISK = """
import resource, signal, sys
from tests.record import sample
from fedmpi.errors import ResultError
from fedmpi.record.writer import Writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
out = Writer.create(sys.argv[1], **sample.fixed())
out.append(*sample.one_round(0))
out.commit()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for number in range(1, 2000):
    out.append(*sample.one_round(number, cohort=50))
    if number % 50 == 0:
        try:
            out.commit()
        except ResultError as error:
            sys.exit(str(error))
"""


def test_a_full_disk_is_told_and_harms_nothing(path, run_python):
    done = run_python("-c", FULL_DISK, path)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert len(reader.open(path).rounds) in range(1, 2000)
    assert [p.name for p in path.parent.iterdir()] == ["out.h5"]
