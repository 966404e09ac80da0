"""The verb sweep: many runs, one after the other here, or as jobs."""

import json
import os
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from fedmpi.cli.launchers import of_open_mpi, words_for
from fedmpi.cli.run import STOPPED_EARLY
from fedmpi.cli.submission import add_job, first_of_job, own_command
from fedmpi.cli.sweep_jobs import free, submit
from fedmpi.cli.words import Verbs
from fedmpi.errors import ConfigError, ResultError, counted, typed, unwritable
from fedmpi.text_file import text_of

if TYPE_CHECKING:
    from fedmpi.experiment.stop import Stop
    from fedmpi.scheduler.sweep import Point, Sweep


def add_verbs(verbs: Verbs) -> None:
    """Add the verb of this module to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, sweep, "run a grid of experiments, here or as jobs",
                  "fedmpi sweep sweep.toml -o results --ranks 2")
    parser.add_argument("sweep", metavar="SWEEP", type=Path,
                        help="TOML file: base, seeds, set, grid, cases")
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="DIR",
                        help="folder for the result files and points.tsv")
    parser.add_argument("--ranks", type=int, default=1, help="MPI ranks of each run here (1)")
    parser.add_argument("--submit", action="store_true", help="submit the runs as jobs")
    parser.add_argument("--parallel", type=int, metavar="N",
                        help="tasks of an array that run at once")
    parser.add_argument("--pack", type=int, metavar="N",
                        help="run N points of one rank each on every node at the same time")
    add_job(parser)


def sweep(args: Namespace) -> int:
    """Run every unfinished point of a sweep, one after the other, or as jobs.

    Points that are queued or running are skipped. Arrays that are too large for the cluster
    are split. With --pack N a node runs N points of one rank at once, each with its own log.
    """
    from fedmpi.scheduler import snapshot
    from fedmpi.scheduler import sweep as plans
    from fedmpi.scheduler.options import check_path

    _check_words(args)
    plan = plans.read(args.sweep)
    folder = check_path(args.out)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; give the name of a folder")
    todo = _unfinished(plan, folder)
    if args.dry_run:
        print(plans.table(plan.points), end="")
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(str(folder), error) from None
    print(f"{len(plan.points)} points, {len(todo)} not finished")
    if args.submit and todo:
        submit(args, plan, folder, todo)
        return 0
    if args.dry_run:
        return 0
    plans.write_table(folder, plan.points)
    _, lines = free(snapshot.of_sweep(folder), todo)
    return _run_here(args, plan, folder, [line - 1 for line in lines])


def _check_words(args: Namespace) -> None:
    """Raise ConfigError for options of the command line that do not go together."""
    from fedmpi.comm.launch import launched

    if launched(os.environ):
        raise ConfigError("sweep starts its own ranks: use --ranks N or --submit, not mpiexec")
    for name in ("ranks", "parallel", "pack"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise ConfigError(f"--{name} {value}: must be 1 or more")
    if args.pack and (not args.submit or args.tasks_per_node):
        raise ConfigError("--pack N goes with --submit, and says how many ranks a node has: "
                          "leave --tasks-per-node out")
    of_job = "--parallel" if args.parallel else first_of_job(args)
    if of_job and not args.submit:
        raise ConfigError(f"{of_job}: is for jobs; add --submit, or leave it out")
    if args.submit and args.ranks > 1:
        raise ConfigError(f"--ranks {args.ranks}: is for runs here; the ranks of a job are "
                          "--nodes times --tasks-per-node")


def _unfinished(plan: "Sweep", folder: Path) -> list[int]:
    """Check every point, and return the indices of the points without a finished result."""
    from fedmpi.experiment import resolve
    from fedmpi.record import reader

    text, todo = text_of(plan.base), []
    for i, point in enumerate(plan.points):
        try:
            resolved = resolve.resolve(text, str(plan.base), point.overrides())
        except ConfigError as error:
            raise ConfigError(f"point {point.name}: {error}") from None
        path = folder / point.file
        if not path.exists():
            todo.append(i)
            continue
        try:
            with reader.open(path) as run:
                kept, status = run.config, run.status
        except ResultError as error:
            raise ResultError(f"{error}\nmove it away to run the point again, or try: "
                              f"fedmpi resume {quote(str(path))} --rebuild") from None
        _same(kept, resolved.values(), path)
        if status != "finished":
            todo.append(i)
    return todo


def _same(kept: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> None:
    """Raise ResultError if a result was made with another value of a key that both have."""
    kept, values = _flat(kept), _flat(json.loads(json.dumps(values)))  # as a file keeps them
    for key in kept.keys() & values.keys():
        if kept[key] != values[key]:
            raise ResultError(
                f"{path}: was made with {key} = {typed(kept[key])}, now it is "
                f"{typed(values[key])}; choose another folder, or move the file away"
            )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"section.key": value}; a list of tables, such as the stages, is one value."""
    flat: dict[str, Any] = {}
    for name, section in config.items():
        if isinstance(section, dict):
            flat |= {f"{name}.{key}": value for key, value in section.items()}
        else:
            flat[name] = section
    return flat


def _run_here(args: Namespace, plan: "Sweep", folder: Path, todo: Sequence[int]) -> int:
    """Run points one after the other, even after a point has failed; return the exit code.

    A point that another process writes is skipped.
    """
    from fedmpi.experiment.stop import Stop
    from fedmpi.record.heartbeat import last_heartbeat
    from fedmpi.record.lock import writer_of

    failed: list[str] = []
    others: list[Path] = []
    with Stop() as stop:
        for count, i in enumerate(todo, 1):
            point = plan.points[i]
            print(f"[{count}/{len(todo)}] {point.name}", flush=True)
            out = folder / point.file
            code = 0 if last_heartbeat(out).alive else _run_point(args, plan.base, out, point, stop)
            if code == STOPPED_EARLY or stop.asked:
                print("stopped early with everything saved; the same command continues")
                return STOPPED_EARLY
            if (last := last_heartbeat(out)).alive:  # another process may have taken it meanwhile
                print(f"left alone, {writer_of(out, last)}", flush=True)
                others.append(out)
            else:
                failed += [point.name] * (code != 0)
    print(f"compare with: fedmpi compare {quote(str(folder))}/*.h5")
    for name in failed:
        print(f"fedmpi: {name} failed, see above", file=sys.stderr)
    if others := [out for out in others if not _finished(out)]:
        print(f"{counted(len(others), 'point')} left to other processes; the same command continues"
              " when they have ended")
    return 1 if failed else STOPPED_EARLY if others else 0


def _finished(out: Path) -> bool:
    """Return whether there is a finished result by now."""
    from fedmpi.record import reader

    if not out.exists():
        return False
    with reader.open(out) as run:
        status: str = run.status
    return status == "finished"


def _run_point(args: Namespace, base: Path, out: Path, point: "Point", stop: "Stop") -> int:
    """Run or resume one point in a new process; return its exit code."""
    if out.exists():
        words: list[str | Path] = ["resume", "--allow-code", out]  # the base names the same code
    else:
        words = ["run", base, "-o", out]
        words += [word for override in point.overrides() for word in ("--set", override)]
    ranks = words_for(args.ranks) if args.ranks > 1 else []
    return _wait([str(word) for word in [*ranks, *own_command(), *words]], stop,
                 apart=bool(ranks) and of_open_mpi(ranks[0]))


def _wait(words: Sequence[str], stop: "Stop", apart: bool) -> int:
    """Start a command, forward the signal that `stop` records, and return the exit code.

    A terminal sends SIGINT to the command too, unless `apart`. This is for Open MPI's launcher,
    which kills its ranks at once on any signal that asks it to stop, but forwards SIGUSR1 to them.
    """
    group = 0 if apart else None  # its own process group, which SIGINT does not reach
    process = subprocess.Popen(words, process_group=group,
                               stdin=subprocess.DEVNULL if apart else None)
    passed_on = False
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=0.2)
            if stop.asked and not passed_on and (apart or stop.asked != "SIGINT"):
                process.send_signal(signal.SIGUSR1 if apart else signal.SIGTERM)
                passed_on = True
    except KeyboardInterrupt:  # the second SIGINT: end without saving
        if apart:
            process.terminate()
            process.wait()
        raise
