"""The jobs of a sweep: arrays whose tasks run its points."""

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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

    kept = snapshot.Snapshot(folder / "sweep.job")
    if args.pack:
        args.tasks_per_node = args.pack
    submission = Submission(args, args.sweep.stem)
    if args.dry_run:
        for _, _, text in _arrays(args, plan, folder, submission, kept, todo)[1]:
            print(f"{text}# not submitted")
        return
    with kept.alone():  # or a second command would submit the same points
        taken, arrays = _arrays(args, plan, folder, submission, kept, todo)
        if arrays:
            _keep_base(kept, plan, taken)
            with _table(folder, plan, kept):
                _submit_arrays(args, submission, kept, arrays)
            here = quote(str(folder))
            print(f"  tail -F {here}/*.log\nafterwards: fedmpi compare {here}/*.h5")


@contextmanager
def _table(folder: Path, plan: "Sweep", kept: "Snapshot") -> Iterator[None]:
    """Write points.tsv for the jobs that the block submits.

    If the batch system refuses the first job of the folder, the old table is restored, since no
    job reads the new one.
    """
    from fedmpi.scheduler import sweep as plans
    from fedmpi.scheduler.command import RefusedError

    path = folder / "points.tsv"
    before = path.read_bytes() if path.is_file() else None
    plans.write_table(folder, plan.points)
    try:
        yield
    except RefusedError:
        if not kept.record.stat().st_size:
            path.unlink() if before is None else path.write_bytes(before)
        raise


def _arrays(
    args: Namespace, plan: "Sweep", folder: Path, submission: Submission, kept: "Snapshot",
    todo: Sequence[int],
) -> tuple[Mapping[str, str], list[Array]]:
    """Return the points that jobs have already, and the Arrays for the other points."""
    taken, lines = free(kept, todo)
    parts = _parts(submission, lines, bool(args.pack))
    paths = kept.new_scripts(submission.scheduler, len(parts))
    texts = _scripts(args, plan, folder, submission, kept, parts, paths)
    return taken, list(zip(parts, paths, texts, strict=True))


def free(kept: "Snapshot", todo: Sequence[int]) -> tuple[Mapping[str, str], list[int]]:
    """Return the points that jobs have already, and the lines of the other points of `todo`."""
    taken = kept.alive(os.environ)
    lines = [i + 1 for i in todo if str(i + 1) not in taken]
    if len(lines) < len(todo):
        print(f"{len(todo) - len(lines)} of them wait or run already")
    return taken, lines


def _submit_arrays(
    args: Namespace, submission: Submission, kept: "Snapshot", arrays: Sequence[Array]
) -> None:
    """Submit the arrays, one after the other, and record their jobs."""
    for count, (part, path, text) in enumerate(arrays):
        kept.write_script(path, text)
        try:
            jobs = submission.submit(path, submission.script.tasks(part, bool(args.pack)))
        except FedmpiError as error:
            left, all_of_them = (sum(len(lines) for lines, *_ in of)
                                 for of in (arrays[count:], arrays))
            raise type(error)(f"{left} of {all_of_them} points not submitted; the same command "
                              f"continues when other jobs have ended\n{error}") from None
        kept.note(submission.scheduler, jobs, _tasks(submission, part, bool(args.pack)))
        show, end = submission.how_to_follow(jobs)
        print(f"submitted as array {jobs[0]}: {len(part)} points\n"
              f"  {submission.said()}{', each with its own point' if args.pack else ''}\n"
              f"  {show}\n  {end}      to end it; the same command continues")


def _parts(submission: Submission, lines: Sequence[int], pack: bool) -> list[list[int]]:
    """Return the lines of each array, none with more tasks than the cluster allows."""
    most = submission.module.most_tasks(os.environ) or len(lines) or 1
    most = min(most, submission.site.most_tasks or most)
    size = most * (submission.options.ranks if pack else 1)
    return [list(lines[at : at + size]) for at in range(0, len(lines), size)]


def _tasks(
    submission: Submission, part: Sequence[int], pack: bool
) -> list[tuple[str, Sequence[int]]]:
    """Return (task, lines) of each task of an array."""
    size = submission.options.ranks if pack else 1
    return [(str(task), part[at : at + size]) for task, at in enumerate(range(0, len(part), size))]


def _scripts(
    args: Namespace, plan: "Sweep", folder: Path, submission: Submission, kept: "Snapshot",
    parts: Sequence[Sequence[int]], paths: Sequence[Path],
) -> list[str]:
    """Return the text of the script of each array."""
    from fedmpi.experiment import resolve
    from fedmpi.scheduler import snapshot
    from fedmpi.scheduler.options import check_path

    check_path(plan.base)
    text = text_of(plan.base)
    values = [resolve.resolve(text, str(plan.base), point.overrides()).values()
              for point in plan.points]
    digests = snapshot.digests({"points": values}, _device_files(plan, text), plan.base)
    return [submission.script.sweep(kept, path, folder / "points.tsv", part, bool(args.pack),
                                    args.parallel, digests)
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


def _keep_base(kept: "Snapshot", plan: "Sweep", taken: Mapping[str, str]) -> None:
    """Store the base experiment of all points; refuse to change it while jobs need the old one."""
    text = text_of(plan.base)
    if taken and kept.config.exists() and kept.config.read_text(encoding="utf-8") != text:
        raise ResultError(f"{plan.base}: has changed, and {len(taken)} points wait or run with "
                          "its earlier contents; wait for them, or choose another folder")
    kept.keep(text, _device_files(plan, text))
