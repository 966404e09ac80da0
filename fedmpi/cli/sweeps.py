"""The verb sweep: many runs, one after the other here, or as jobs."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from fedmpi.cli.machine import mpiexec
from fedmpi.cli.run import STOPPED_EARLY
from fedmpi.cli.submission import Submission, add_job, first_of_job, own_command
from fedmpi.errors import ConfigError, FedmpiError, ResultError
from fedmpi.text_file import text_of


def add_verbs(verbs):
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


def sweep(args):
    """Run every unfinished point of a sweep, one after the other, or as jobs.

    Points that are queued or running are skipped. Arrays that are too large for the cluster
    are split. With --pack N a node runs N points of one rank at once, each with its own log.
    """
    from fedmpi.comm.launch import launched
    from fedmpi.scheduler import sweep as plans
    from fedmpi.scheduler.options import check_path

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
    plan = plans.read(args.sweep)
    folder = check_path(args.out)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; give the name of a folder")
    todo = _unfinished(plan, folder)
    if args.dry_run:
        print(plans.table(plan.points), end="")
    print(f"{len(plan.points)} points, {len(todo)} not finished")
    if not args.dry_run:
        folder.mkdir(parents=True, exist_ok=True)
    if args.submit and todo:
        return _submit(args, plan, folder, todo)
    if args.dry_run:
        return None
    plans.write_table(folder, plan.points)
    return _run_here(args, plan, folder, todo)


def _unfinished(plan, folder):
    """Check every point and return those without a finished result, by their place."""
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
        with reader.open(path) as run:
            _same(run.config, resolved.values(), path)
            if run.status != "finished":
                todo.append(i)
    return todo


def _same(kept, values, path):
    """Raise ResultError if a result was made with other values of the keys that both know."""
    kept, values = _flat(kept), _flat(json.loads(json.dumps(values)))  # as a file keeps them
    for key in kept.keys() & values.keys():
        if kept[key] != values[key]:
            raise ResultError(
                f"{path}: was made with {key} = {kept[key]!r}, now it is {values[key]!r}; "
                "choose another folder, or move the file away"
            )


def _flat(config):
    """Return {"section.key": value}; a list of tables, such as stages, is one value."""
    flat = {}
    for name, section in config.items():
        if isinstance(section, dict):
            flat |= {f"{name}.{key}": value for key, value in section.items()}
        else:
            flat[name] = section
    return flat


def _run_here(args, plan, folder, todo):
    """Run points one after the other; a failed one does not keep the next from running."""
    from fedmpi.experiment.stop import Stop

    failed = []
    with Stop() as stop:
        for count, i in enumerate(todo, 1):
            point = plan.points[i]
            print(f"[{count}/{len(todo)}] {point.name}", flush=True)
            code = _run_point(args, plan.base, folder / point.file, point, stop)
            if code == STOPPED_EARLY or stop.asked:
                print("stopped early with everything saved; the same command continues")
                return STOPPED_EARLY
            failed += [point.name] * (code != 0)
    print(f"compare with: fedmpi compare {folder}/*.h5")
    for name in failed:
        print(f"fedmpi: {name} failed, see above", file=sys.stderr)
    return 1 if failed else 0


def _run_point(args, base, out, point, stop):
    """Run or resume one point in a new process; return its exit code."""
    if out.exists():
        words = ["resume", "--allow-code", out]  # the base names the same code
    else:
        words = ["run", base, "-o", out]
        words += [word for override in point.overrides() for word in ("--set", override)]
    ranks = [launcher(), "-n", args.ranks] if args.ranks > 1 else []
    process = subprocess.Popen([str(word) for word in [*ranks, *own_command(), *words]])
    passed_on = False
    while True:
        try:
            return process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            # A terminal gives SIGINT to the run itself.
            if stop.asked and stop.asked != "SIGINT" and not passed_on:
                process.send_signal(signal.SIGTERM)
                passed_on = True


def launcher():
    """Return the path of mpiexec. Raises ConfigError if there is none."""
    if not (found := mpiexec()):
        raise ConfigError("no mpiexec to start ranks; load your MPI's module or install "
                          "fedmpi[mpich]")
    return found


def _submit(args, plan, folder, todo):
    """Submit the points `todo` that no job has yet, in as many arrays as are needed."""
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
            print(f"  tail -F {folder}/*.log\nafterwards: fedmpi compare {folder}/*.h5")


@contextmanager
def _table(folder, plan, kept):
    """Write points.tsv for the jobs that the block submits.

    If the batch system refuses the first job of the folder, the table is again as it was before:
    no job reads it.
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


def _arrays(args, plan, folder, submission, kept, todo):
    """Return the points that jobs have, and (lines, path, text) of each array for the others."""
    from fedmpi.scheduler import SCHEDULERS

    taken = kept.alive(SCHEDULERS, os.environ)
    lines = [i + 1 for i in todo if str(i + 1) not in taken]
    if len(lines) < len(todo):
        print(f"{len(todo) - len(lines)} of them wait or run already")
    parts = _parts(submission, lines, bool(args.pack))
    paths = kept.new_scripts(submission.scheduler, len(parts))
    texts = _scripts(args, plan, folder, submission, kept, parts, paths)
    return taken, list(zip(parts, paths, texts, strict=True))


def _submit_arrays(args, submission, kept, arrays):
    """Submit the arrays, one after the other, and note their jobs."""
    for count, (part, path, text) in enumerate(arrays):
        kept.write_script(path, text)
        try:
            jobs = submission.submit(path, submission.script.tasks(part, bool(args.pack)))
        except FedmpiError as error:
            left, all_of_them = (sum(len(lines) for lines, *_ in of)
                                 for of in (arrays[count:], arrays))
            raise type(error)(f"{left} of {all_of_them} points not submitted; the same command "
                              f"goes on when others have ended\n{error}") from None
        kept.note(submission.scheduler, jobs, _tasks(submission, part, bool(args.pack)))
        show, end = submission.how_to_follow(jobs)
        print(f"submitted as array {jobs[0]}: {len(part)} points\n"
              f"  {submission.said()}{', each with its own point' if args.pack else ''}\n"
              f"  {show}\n  {end}      to end it; the same command continues")


def _parts(submission, lines, pack):
    """The lines of each array: no array has more tasks than the cluster takes."""
    most = submission.module.most_tasks(os.environ) or len(lines) or 1
    most = min(most, submission.site.most_tasks or most)
    size = most * (submission.options.ranks if pack else 1)
    return [lines[at : at + size] for at in range(0, len(lines), size)]


def _tasks(submission, part, pack):
    """(task, lines) of each task of an array."""
    size = submission.options.ranks if pack else 1
    return [(task, part[at : at + size]) for task, at in enumerate(range(0, len(part), size))]


def _scripts(args, plan, folder, submission, kept, parts, paths):
    """The text of the script of each array."""
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


def _device_files(plan, text):
    """Return {name: text} of the files of [devices] that any point names."""
    from fedmpi.experiment import device_files

    first = {}  # of the points that are alike in [devices]
    for point in plan.points:
        words = point.overrides()
        first.setdefault(tuple(word for word in words if word.startswith("devices.")), words)
    found = {}
    for words in first.values():
        found |= device_files.by_name(text, str(plan.base), words)
    return found


def _keep_base(kept, plan, taken):
    """Keep the experiment that all points change; jobs that wait may not be given another."""
    text = text_of(plan.base)
    if taken and kept.config.exists() and kept.config.read_text(encoding="utf-8") != text:
        raise ResultError(f"{plan.base}: has changed, and {len(taken)} points wait or run as it "
                          "was; wait for them, or choose another folder")
    kept.keep(text, _device_files(plan, text))
