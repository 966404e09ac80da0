"""The jobs of a sweep: arrays whose tasks run its points."""

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, TypeAlias

from fedmpi.cli.submission import Submission
from fedmpi.errors import FedmpiError, ResultError
from fedmpi.text_file import text_of

if TYPE_CHECKING:
    from fedmpi.scheduler.snapshot import Snapshot
    from fedmpi.scheduler.sweep import Sweep

Array: TypeAlias = tuple[list[int], Path, str]
"""(lines of points.tsv, path of the script that runs them, text of the script)."""


def submit(args: Namespace, plan: "Sweep", folder: Path, todo: Sequence[int]) -> None:
    """Submit the points `todo` that no job has yet, in as many job arrays as needed."""
    from fedmpi.scheduler import snapshot

    if args.pack:
        args.tasks_per_node = args.pack
    submission = Submission(args, args.sweep.stem)
    kept = snapshot.of_sweep(folder)
    jobs = SweepJobs(plan, folder, kept, submission, bool(args.pack), args.parallel)
    if args.dry_run:
        for _, _, text in jobs.arrays(free(kept, todo)[1]):
            print(f"{text}# not submitted")
        return
    with kept.alone():  # or a second command would submit the same points
        taken, lines = free(kept, todo)
        if arrays := jobs.arrays(lines):
            jobs.keep_base(taken)
            with jobs.table():
                jobs.submit(arrays)
            here = quote(str(folder))
            print(f"  tail -F {here}/*.log\nafterwards: fedmpi compare {here}/*.h5")


def free(kept: "Snapshot", todo: Sequence[int]) -> tuple[Mapping[str, str], list[int]]:
    """Return the points that jobs have already, and the lines of the other points of `todo`."""
    taken = kept.alive(os.environ)
    lines = [i + 1 for i in todo if str(i + 1) not in taken]
    if len(lines) < len(todo):
        print(f"{len(todo) - len(lines)} of them wait or run already")
    return taken, lines


@dataclass(frozen=True)
class SweepJobs:
    """The job arrays of one command.

    Attributes
    ----------
    plan : Sweep
    folder : Path
        The folder of the results and of points.tsv.
    kept : Snapshot
        The folder of the base experiment, the scripts and the list of jobs.
    submission : Submission
    pack : bool
        True if each rank of a task runs a point of its own.
    parallel : int or None
        Most tasks of an array that run at once.
    """

    plan: "Sweep"
    folder: Path
    kept: "Snapshot"
    submission: Submission
    pack: bool
    parallel: int | None

    def arrays(self, lines: Sequence[int]) -> list[Array]:
        """Return the Arrays that run the points at `lines` of points.tsv."""
        parts = self._parts(lines)
        paths = self.kept.new_scripts(self.submission.scheduler, len(parts))
        return list(zip(parts, paths, self._scripts(parts, paths), strict=True))

    @contextmanager
    def table(self) -> Iterator[None]:
        """Write points.tsv for the jobs that the block submits.

        If the batch system refuses the first job of the folder, the old table is restored, since no
        job reads the new one.
        """
        from fedmpi.scheduler import sweep as plans
        from fedmpi.scheduler.command import RefusedError

        path = self.folder / "points.tsv"
        before = path.read_bytes() if path.is_file() else None
        plans.write_table(self.folder, self.plan.points)
        try:
            yield
        except RefusedError:
            if not self.kept.record.stat().st_size:
                path.unlink() if before is None else path.write_bytes(before)
            raise

    def keep_base(self, taken: Mapping[str, str]) -> None:
        """Store the base experiment of all points; refuse to change it while jobs need the old one.

        `taken` are the points that jobs have already.
        """
        text, kept = text_of(self.plan.base), self.kept
        if taken and kept.config.exists() and kept.config.read_text(encoding="utf-8") != text:
            raise ResultError(f"{self.plan.base}: has changed, and {len(taken)} points wait or run "
                              "with its earlier contents; wait for them, or choose another folder")
        kept.keep(text, _device_files(self.plan, text))

    def submit(self, arrays: Sequence[Array]) -> None:
        """Submit the arrays, one after the other, and record their jobs."""
        from fedmpi.record.atomic import write_text

        submission = self.submission
        for count, (part, path, text) in enumerate(arrays):
            write_text(path, text, "surrogateescape")
            try:
                jobs = submission.submit(path, submission.script.tasks(part, self.pack))
            except FedmpiError as error:
                left, all_of_them = (sum(len(lines) for lines, *_ in of)
                                     for of in (arrays[count:], arrays))
                raise type(error)(f"{left} of {all_of_them} points not submitted; the same command "
                                  f"continues when other jobs have ended\n{error}") from None
            self.kept.note(submission.scheduler, jobs, self._tasks(part))
            show, end = submission.how_to_follow(jobs)
            print(f"submitted as array {jobs[0]}: {len(part)} points\n"
                  f"  {submission.said()}{', each with its own point' if self.pack else ''}\n"
                  f"  {show}\n  {end}      to end it; the same command continues")

    def _parts(self, lines: Sequence[int]) -> list[list[int]]:
        """Return the lines of each array, none with more tasks than the cluster allows."""
        most = self.submission.module.most_tasks(os.environ) or len(lines) or 1
        most = min(most, self.submission.site.most_tasks or most)
        size = most * self._points_of_a_task
        return [list(lines[at : at + size]) for at in range(0, len(lines), size)]

    def _tasks(self, part: Sequence[int]) -> list[tuple[str, Sequence[int]]]:
        """Return (task, lines) of each task of an array."""
        size = self._points_of_a_task
        return [(str(task), part[at : at + size])
                for task, at in enumerate(range(0, len(part), size))]

    @property
    def _points_of_a_task(self) -> int:
        return self.submission.options.ranks if self.pack else 1

    def _scripts(self, parts: Sequence[Sequence[int]], paths: Sequence[Path]) -> list[str]:
        """Return the text of the script of each array."""
        from fedmpi.experiment import resolve
        from fedmpi.scheduler import snapshot
        from fedmpi.scheduler.options import check_path

        base, points = self.plan.base, self.plan.points
        check_path(base)
        text = text_of(base)
        values = [resolve.resolve(text, str(base), point.overrides()).values() for point in points]
        digests = snapshot.digests({"points": values}, _device_files(self.plan, text), base)
        table, script = self.folder / "points.tsv", self.submission.script
        return [script.sweep(self.kept, path, table, part, self.pack, self.parallel, digests)
                for part, path in zip(parts, paths, strict=True)]


def _device_files(plan: "Sweep", text: str) -> dict[str, str]:
    """Return {name: text} of the files of [devices] that any point names."""
    from fedmpi.experiment import device_files

    first: dict[tuple[str, ...], list[str]] = {}  # the first point with each set of [devices]
    for point in plan.points:
        words = point.overrides()
        first.setdefault(tuple(word for word in words if word.startswith("devices.")), words)
    found: dict[str, str] = {}
    for words in first.values():
        found |= device_files.by_name(text, str(plan.base), words)
    return found
