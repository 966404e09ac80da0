"""The verbs that compute: run."""

import os
import sys
from pathlib import Path

from fedmpi.cli.machine import cache_folder, data_root, one_thread_each
from fedmpi.errors import FedmpiError


def add_verbs(verbs):
    """Add the verbs of this module to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, run, "run an experiment, alone or under mpiexec or srun")
    parser.add_argument("config", help="TOML file of the experiment")
    parser.add_argument("-o", "--out", required=True, type=Path, help="result file to write")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=v", dest="overrides",
                        help="override a key of the configuration; may be repeated")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--progress", choices=("auto", "bar", "lines", "none"), default="auto",
                        help="how progress is shown (default: a bar on a terminal, else lines)")


def run(args):
    """Run an experiment and write its result file."""
    from fedmpi.comm.start import start

    comm = start(os.environ)
    try:
        resolved = _resolved(args, comm)
    except FedmpiError as error:  # the same on all ranks: one of them says it
        if comm.rank:
            return error.exit_code
        raise
    one_thread_each(resolved.config.run.threads_per_rank)
    try:
        return _execute(args, resolved, comm)
    except FedmpiError as error:  # perhaps on this rank alone: the others must not wait for it
        if comm.size == 1 or args.debug:
            raise
        print(f"fedmpi: {error}", file=sys.stderr, flush=True)
        comm.abort(error.exit_code)


def _resolved(args, comm):
    """Read the configuration on rank 0 and resolve it alike on every rank."""
    from fedmpi.sim import resolve

    text, fault = None, None
    if comm.rank == 0:
        try:
            text = resolve.text_of(args.config)
        except FedmpiError as error:
            text, fault = None, error
    text = comm.share(text)
    if text is None:
        raise fault or FedmpiError(f"{args.config}: could not be read on rank 0")
    return resolve.resolve(text, args.config, args.overrides)


def _execute(args, resolved, comm):
    from fedmpi.cli.progress import progress_for
    from fedmpi.sim.run import Start, execute

    root = resolved.config.data.root
    start = Start(
        out=args.out,
        overwrite=args.overwrite,
        data_root=Path(root) if root else data_root(),
        cache=cache_folder(),
        environ=dict(os.environ),
        command=tuple(sys.argv),
    )
    kind = "none" if args.quiet or comm.rank else args.progress
    with progress_for(kind, resolved.config.run.name) as progress:
        execute(resolved, comm, start, progress)
    if comm.rank == 0 and not args.quiet:
        print(f"result in {args.out}; see fedmpi info {args.out}")
    return 0
