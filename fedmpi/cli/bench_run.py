"""The verb bench run, which measures how long the rounds of an experiment take."""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fedmpi.cli.bench_setup import check_file, prepare, write
from fedmpi.cli.machine import cache_folder, data_root
from fedmpi.cli.ranks import ending_together, joined
from fedmpi.cli.words import add_set
from fedmpi.errors import ConfigError

if TYPE_CHECKING:
    from fedmpi.bench.measure import Found
    from fedmpi.comm.base import Comm
    from fedmpi.comm.mpi import Mpi


def arguments(parser: ArgumentParser) -> None:
    """Add the words of this verb to its parser."""
    parser.add_argument("config", help="TOML file of the experiment")
    add_set(parser)
    parser.add_argument("--bare", action="store_true",
                        help="also train the same clients without the simulation (one rank)")
    parser.add_argument("--on", metavar="N,N", help=(
        "run on the first N ranks of this job, for each N in turn, while the other ranks sleep"
    ))  # fmt: skip


def run(args: Namespace) -> None:
    """Run an experiment without a result file, and print how long its rounds took."""
    comm = joined(os.environ)
    with ending_together(comm, args.debug):
        check_file(comm, args.json)
        found = _measured(args, comm)
        if comm.rank == 0:
            write(args.json, found)


def _measured(args: Namespace, comm: "Comm") -> "Found | None":
    """Return a dict of the run's measurements on rank 0, None on the others.

    Errors in the words of the command are raised on all ranks.
    """
    from fedmpi.comm.alike import alike
    from fedmpi.experiment import resolve

    with alike(comm):
        if args.on is not None and (args.bare or comm.size == 1):
            raise ConfigError("bench run --on: needs mpiexec with 2 ranks or more, and no --bare")
        if args.bare and comm.size > 1:
            raise ConfigError("bench run --bare: trains on one rank; start it without mpiexec")
        counts = counts_of(args.on, comm.size) if args.on is not None else []
        resolved = resolve.read(args.config, args.overrides)
    prepare(resolved.config.run.threads_per_rank)
    from fedmpi.bench import first_ranks, live
    from fedmpi.experiment.execute import Start

    root = data_root(resolved.config.data.root)
    how = Start(Path(), data_root=root, cache=cache_folder(), environ=dict(os.environ))
    if counts:
        return first_ranks.measure(resolved, cast("Mpi", comm), counts, how)
    return live.measure(resolved, comm, how, args.bare)


def counts_of(text: str, most: int) -> list[int]:
    """Return the numbers of ranks of "1,2,4"; ConfigError if one is not from 1 to `most`."""
    words = text.split(",")
    if not all(word.strip().isdecimal() and 1 <= int(word) <= most for word in words):
        raise ConfigError(
            f"bench run --on {text}: must be numbers of ranks from 1 to {most} (all ranks of this "
            "job), separated by commas"
        )
    return [int(word) for word in words]
