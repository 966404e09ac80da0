"""The verbs that train: run and resume."""

import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from fedmpi.cli.kernel_cache import keep_kernels_on_node
from fedmpi.cli.machine import (
    cache_folder,
    data_root,
    gpus_of_job,
    keep_freed_memory,
    one_thread_each,
)
from fedmpi.cli.terminal import warn
from fedmpi.cli.words import Verbs, add_set
from fedmpi.comm.launch import rank_of
from fedmpi.errors import AlikeError, FedmpiError
from fedmpi.text_file import text_of

if TYPE_CHECKING:
    from fedmpi.cli.progress_display import Silent
    from fedmpi.cli.startup import StartUp
    from fedmpi.comm.base import Comm
    from fedmpi.experiment.earlier import Earlier
    from fedmpi.experiment.resolve import Resolved
    from fedmpi.experiment.stop import Stop
    from fedmpi.round.columns import RoundRecord

    # From what rank 0 reads, on every rank: the experiment, and the run that began it, if any.
    Make = Callable[[dict[str, Any]], tuple[Resolved, Earlier | None]]

STOPPED_EARLY = 75  # EX_TEMPFAIL: try again


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs of this module to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, run, "run an experiment, alone or under mpiexec or srun",
                  "mpiexec -n 4 fedmpi run exp.toml -o out.h5 --set run.rounds=50")
    parser.add_argument("config", help="TOML file of the experiment")
    parser.add_argument("-o", "--out", required=True, type=Path, help="result file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    _add_common(parser)
    parser = verb(verbs, resume, "continue a run from its checkpoint",
                  "fedmpi resume out.h5 --set run.rounds=100")
    parser.add_argument("out", metavar="OUT", type=Path, help="result file of the run")
    parser.add_argument("--allow-code", action="store_true",
                        help="import the modules of users' code that OUT names")
    parser.add_argument("--force", action="store_true",
                        help="continue although data or code have changed, and note it in OUT")
    parser.add_argument("--rebuild", action="store_true",
                        help="if OUT is damaged or gone, rebuild it from its checkpoint")
    _add_common(parser)


def _add_common(parser: ArgumentParser) -> None:
    add_set(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--progress", choices=("auto", "bar", "lines", "none"), default="auto",
                        help="how progress is shown (default: a bar on a terminal, else lines)")


def run(args: Namespace) -> int:
    """Run an experiment and write its result file.

    Ctrl-C lets the current client finish, saves everything and ends with exit code 75; `resume`
    continues. Open MPI's mpiexec kills its ranks at Ctrl-C: there, `pkill -USR1 prterun`.
    """
    from fedmpi.experiment import device_files, resolve

    def read() -> dict[str, Any]:
        from fedmpi.record.writer import check_target  # imports h5py, on rank 0 alone
        from fedmpi.scheduler.snapshot import check_no_job_waits

        text = text_of(args.config)
        check_target(args.out, args.overwrite)
        check_no_job_waits(args.out, os.environ)
        devices = device_files.by_key(text, args.config, args.overrides)
        return {"text": text, "devices": devices}

    def make(given: dict[str, Any]) -> "tuple[Resolved, None]":
        text, devices = given["text"], given["devices"]
        return resolve.resolve(text, args.config, args.overrides, devices), None

    return _on_all_ranks(args, read, make, overwrite=args.overwrite)


def resume(args: Namespace) -> int:
    """Continue a run from its checkpoint; for more rounds add --set run.rounds=N.

    It may be started on another number of ranks; the bits are the same.
    """
    from fedmpi.experiment.earlier import Earlier

    def read() -> dict[str, Any]:
        from fedmpi.experiment.rebuild import earlier  # imports h5py, on rank 0 alone
        from fedmpi.scheduler.snapshot import check_no_job_waits

        check_no_job_waits(args.out, os.environ)
        return vars(earlier(args.out, args.rebuild))

    def make(given: dict[str, Any]) -> "tuple[Resolved, Earlier]":
        begun = Earlier(**given)
        return begun.resolved(str(args.out), args.overrides, args.allow_code), begun

    changed = tuple(args.overrides)
    return _on_all_ranks(args, read, make, resume=True, force=args.force, changed=changed)


def _on_all_ranks(
    args: Namespace, read: Callable[[], dict[str, Any]], make: "Make", **how: Any
) -> int:
    """Start the ranks, resolve on all of them the configuration that rank 0 reads, and run it."""
    from fedmpi.cli.ranks import ending_together
    from fedmpi.cli.startup import StartUp
    from fedmpi.comm.launch import launched
    from fedmpi.comm.start import start

    if launched(os.environ):  # Python's own handler would not run inside MPI_Init
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    stages = StartUp(args.progress == "bar" or None)
    if args.quiet or args.progress == "none" or rank_of(os.environ):
        stages.end()
    stages("starting the ranks" if launched(os.environ) else "starting")
    try:
        comm = start(os.environ)
        with ending_together(comm, args.debug, stages.end):
            return _resolve_and_execute(args, read, make, comm, stages, how)
    finally:
        stages.end()


def _resolve_and_execute(
    args: Namespace, read: Callable[[], dict[str, Any]], make: "Make", comm: "Comm",
    stages: "StartUp", how: dict[str, Any],
) -> int:
    """Resolve on all ranks what rank 0 reads, and run it; return the exit code."""
    from fedmpi.comm.alike import alike
    from fedmpi.experiment.portable import hold_to_level
    from fedmpi.experiment.stop import Stop, ignore_signals

    given = _from_rank_0(comm, read)
    with alike(comm):
        resolved, begun = make(given)
    if begun and begun.finished and not how["changed"]:
        stages.end()
        if comm.rank == 0 and not args.quiet:
            print(f"all {begun.done} rounds are done; for more add --set run.rounds=N")
        return 0
    stages.count_kernels(keep_kernels_on_node(os.environ))
    one_thread_each(resolved.config.run.threads_per_rank)
    gpus_of_job(os.environ)
    with alike(comm):
        if resolved.config.run.portable:
            hold_to_level(os.environ)
    keep_freed_memory()
    with Stop() as stop:
        how |= {"rebuild": begun is not None and begun.rebuild}
        code = _execute(args, resolved, comm, stop, stages, how)
        ignore_signals()
        return code


def _from_rank_0(comm: "Comm", read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return rank 0's result of `read` on every rank, or raise its error on every rank."""
    given, fault = None, None
    shared: dict[str, Any]
    if comm.rank == 0:
        try:
            given = read()
        except FedmpiError as error:
            fault = error
    shared, code = comm.share([given, fault.exit_code if fault else 0])
    if code:
        if fault and comm.size == 1:
            raise fault
        raise AlikeError(str(fault or "rank 0 could not read what to run"), code) from fault
    return shared


def _execute(
    args: Namespace, resolved: "Resolved", comm: "Comm", stop: "Stop", stages: "StartUp",
    how: dict[str, Any],
) -> int:
    from fedmpi.experiment.execute import Start, execute

    start = Start(
        out=args.out,
        data_root=data_root(resolved.config.data.root),
        cache=cache_folder(),
        environ=dict(os.environ),
        command=tuple(sys.argv),
        warn=warn,
        announce=stages,
        **how,
    )
    kind = "none" if args.quiet or comm.rank else args.progress
    with ExitStack() as stack:
        shown: list[Silent] = []

        def progress(row: "RoundRecord", rounds: int) -> None:
            """Show a round; the first round ends the stages of the start."""
            if not shown:
                from fedmpi.cli import progress_display as display  # only rank 0 shows progress

                stages.end()
                earlier = row.columns["round"] if kind != "none" else 0
                sent = display.sent_before(args.out, int(earlier)) if earlier else 0
                shown.append(stack.enter_context(
                    display.progress_for(kind, resolved.config.run.name, sent)))
            shown[0](row, rounds)

        done = execute(resolved, comm, start, progress, stop)
    stages.end()
    if comm.rank == 0 and not args.quiet:
        print(f"result in {args.out}" if done else "stopped early with everything saved; "
              f"continue with: fedmpi resume {quote(str(args.out))}")
    return 0 if done else STOPPED_EARLY
