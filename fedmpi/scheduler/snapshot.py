"""A snapshot, beside the result, of the files that a job will run, as they were at submission."""

import hashlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from fedmpi import user_code
from fedmpi.errors import ConfigError, FedmpiError, ResultError, unwritable
from fedmpi.record.atomic import write_text
from fedmpi.record.flock import has_path, try_lock
from fedmpi.scheduler import SCHEDULERS, in_job
from fedmpi.scheduler.command import Environ, RefusedError

UNKNOWN = "in an unknown state, since the scheduler does not answer"
QUEUED = ("PENDING", "QUEUED", "HELD", "WAITING", "DEPEND", "PRIORITY", "SCHED")


@dataclass(frozen=True)
class Snapshot:
    """The folder NAME.job: the configuration, the script, and the numbers of the jobs."""

    folder: Path

    @property
    def config(self) -> Path:
        """The path of the configuration."""
        return self.folder / "config.toml"

    @property
    def record(self) -> Path:
        """The path of the list of submitted jobs."""
        return self.folder / "submitted"

    def script(self, scheduler: str) -> Path:
        """Return the path of the script."""
        return self.folder / f"job.{scheduler}"

    def new_scripts(self, scheduler: str, count: int) -> list[Path]:
        """Return the paths of `count` further scripts of a sweep.

        Existing scripts are not reused: their jobs may read them to submit themselves again.
        """
        there = [path.stem.rpartition("-")[2] for path in self.folder.glob(f"job-*.{scheduler}")]
        first = 1 + max([0, *(int(number) for number in there if number.isdecimal())])
        return [self.folder / f"job-{first + i}.{scheduler}" for i in range(count)]

    def keep(self, text: str, files: Mapping[str, str] | None = None) -> None:
        """Write the configuration `text` and the `files` that it names, a dict of texts by name.

        A file with an absolute path or a path through ".." is not copied. Raises ResultError.
        """
        named = {self.folder / name: content for name, content in (files or {}).items()
                 if beside(name)}
        for path, content in ({self.config: text} | named).items():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unwritable(path, error) from None
            write_text(path, content)  # as a whole: queued jobs of a sweep may read the old file

    def note(
        self, scheduler: str, jobs: Sequence[str], tasks: Iterable[tuple[str, Sequence[int]]]
    ) -> None:
        """Add submitted jobs to the list.

        `tasks` has (task, lines) for each task of one job array, or for each of several jobs.
        """
        rows = []
        for i, (task, lines) in enumerate(tasks):
            job, name = (jobs[i], "-") if len(jobs) > 1 else (jobs[0], task)
            rows.append(f"{scheduler} {job} {name} {','.join(map(str, lines)) or '-'}\n")
        try:
            with self.record.open("a", encoding="utf-8") as file:
                file.writelines(rows)
        except OSError as error:
            raise ResultError(f"{self.record}: {error.strerror}; jobs {' '.join(jobs)} were "
                              "submitted, but are not on this list") from None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep out other submissions of the same result while the block runs. Raises ResultError.

        A new folder is removed again if the block raises ConfigError, or if the batch system
        refuses its first job.
        """
        new = not self.folder.exists()
        try:
            self.folder.mkdir(exist_ok=True)
            file = self.record.open("a", encoding="utf-8")
        except OSError as error:
            raise ResultError(f"{self.folder}: {error.strerror}; the job's files cannot be written"
                              ) from None
        with file:
            if try_lock(file.fileno()) is False:
                raise ResultError(f"{self.folder}: another submission is under way; "
                                  "wait for it to end")
            if not has_path(file.fileno(), self.record):
                raise ResultError(f"{self.folder}: another submission, which was refused, has just "
                                  "removed it; give the same command again")
            try:
                yield
            except (ConfigError, RefusedError):
                if new and not self.record.stat().st_size:
                    shutil.rmtree(self.folder, ignore_errors=True)
                raise

    def alive(self, environ: Environ) -> dict[str, str]:
        """Return {line: job} of the lines whose jobs are queued or running; "-" without a table.

        Raises FedmpiError if the scheduler does not answer, since a job might be submitted twice.
        """
        found: dict[str, str] = {}
        asked: dict[str, set[str]] = {}
        for name, job, task, lines in self.submitted():
            if job not in asked:
                asked[job] = self._tasks(name, job, environ)
            if asked[job] & {task, "-"} or (task == "-" and asked[job]):
                found |= dict.fromkeys(lines.split(","), job)
        return found

    def _tasks(self, scheduler: str, job: str, environ: Environ) -> set[str]:
        """Return the queued or running tasks of a job on the list."""
        try:
            return SCHEDULERS[scheduler].alive(job, environ)
        except FedmpiError as error:
            raise FedmpiError(f"{self.record}: it is unknown whether job {job} waits or runs, so "
                              "nothing is started; give the same command again later\n"
                              f"{error}") from None

    def submitted(self) -> list[list[str]]:
        """Return (scheduler, job, task, lines) of all jobs on the list, the oldest first."""
        try:
            lines = self.record.read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"{self.record}: cannot be read; move it away") from None
        rows = [line.split() for line in lines]
        return [row for row in rows if len(row) == 4 and row[0] in SCHEDULERS]


def of(out: Path) -> Snapshot:
    """Return the Snapshot beside the result file `out`: OUT.job, without the .h5 of OUT."""
    return Snapshot(Path(f"{_stem(out)}.job"))


def of_sweep(folder: Path) -> Snapshot:
    """Return the Snapshot of the sweep in a folder, a name that `submit` refuses to other jobs."""
    return Snapshot(folder / "sweep.job")


def log_of(out: Path) -> Path:
    """Return the path of the log of the jobs that write the result file `out`."""
    return Path(f"{_stem(out)}.log")


def _stem(out: Path) -> Path:
    """Return `out` without .h5; other ends stay, or lr0.1 and lr0.2 would share their files."""
    return out.with_suffix("") if out.suffix == ".h5" else out


def state_of(out: Path, environ: Environ) -> tuple[str, str] | None:
    """Return (job, state) of the newest job that writes the result file `out`.

    The state is the scheduler's word and reason, "" for a job that is neither queued nor running,
    and UNKNOWN if the scheduler does not answer. Returns None if no job was submitted for `out`,
    alone or as a point of a sweep.
    """
    kept, line = of(out), "-"
    if not kept.record.exists() or kept == of_sweep(out.parent):
        kept, line = of_sweep(out.parent), _line_of(out)
    rows = [row for row in kept.submitted() if line in row[3].split(",")]
    states = [(job, _state(name, job, task, environ)) for name, job, task, _ in rows[-2:]]
    # A job may submit the next before it ends: the newest job with a state counts.
    return next((found for found in reversed(states) if found[1]), states[-1] if states else None)


def _state(scheduler: str, job: str, task: str, environ: Environ) -> str:
    try:
        return SCHEDULERS[scheduler].state(job, task, environ)
    except FedmpiError:
        return UNKNOWN


def queued(state: str) -> bool:
    """Return whether a job with this state, a word and perhaps a reason, has not started."""
    return state.partition(" ")[0] in QUEUED


def check_no_job_waits(out: Path, environ: Environ) -> None:
    """Raise ResultError if a queued job will write `out`, or if this is unknown.

    `environ` is the environment. Inside a job nothing is checked, since thousands of jobs would
    query the scheduler.
    """
    if in_job(environ):
        return
    job, state = state_of(out, environ) or ("", "")
    if queued(state):
        raise ResultError(f"{out}: job {job}, which is {state}, waits in the queue to write it; "
                          "wait for it, or end it first")
    if state == UNKNOWN:
        raise ResultError(f"{out}: job {job} may wait in the queue to write it, and the scheduler "
                          "does not answer; give the same command again later, or choose another "
                          "name")


def _line_of(out: Path) -> str:
    """Return the number, as text, of the line of points.tsv for `out`, or ""."""
    try:
        rows = (out.parent / "points.tsv").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    files = [row.partition("\t")[0] for row in rows]
    return str(files.index(out.name)) if out.name in files[1:] else ""


def beside(name: str) -> bool:
    """Return whether a file can be copied beside a configuration under its own name."""
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts


def digests(
    values: Mapping[str, Any], files: Iterable[str] = (), place: str | PathLike[str] = "."
) -> str:
    """Return lines in the form of sha256sum for the files that a job needs but that are not copied.

    These are the modules of users' code named in the nested dict `values`, and the `files` of the
    configuration `place` that `Snapshot.keep` does not copy. Modules are found on sys.path and not
    imported. Raises ConfigError for a file that a job would not find.
    """
    own = (name for _, name in user_code.names_in(values))
    found = sorted({path for name in own if (path := _module(name))})
    found += [_elsewhere(name, place) for name in files if not beside(name)]
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}" for path in found]
    return "\n".join(lines)


def _elsewhere(name: str, place: str | PathLike[str]) -> Path:
    """Return the path of a file that is not copied; a job runs in the folder of its submission."""
    here, there = Path(name).absolute(), Path(place).parent / name
    if not here.is_file() or (there.is_file() and not here.samefile(there)):
        raise ConfigError(f"{place}: {name!r}: would not be found by a job, which has the "
                          "configuration in another folder; give the file's absolute path")
    return here


def _module(name: str) -> Path | None:
    """Return the file of the module in "package.module:object", or None."""
    stem = name.partition(":")[0].replace(".", "/")
    places = [Path(folder or ".") / end for folder in sys.path
              for end in (f"{stem}.py", f"{stem}/__init__.py")]
    return next((path.absolute() for path in places if path.is_file()), None)
