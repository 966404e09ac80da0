"""The verb warmup: the kernels of a node, compiled before its first run."""

import os
from argparse import Namespace

from fedmpi.cli.bench_setup import prepare
from fedmpi.cli.ranks import ending_together, joined
from fedmpi.cli.words import Verbs


def add_verbs(verbs: Verbs) -> None:
    """Add the verb of this module to the parser."""
    from fedmpi.cli import verb

    verb(verbs, warmup, "compile the kernels once per node",
         "srun --ntasks-per-node=1 fedmpi warmup")


def warmup(args: Namespace) -> None:
    """Compile the kernels into this node's cache; the ranks of a node share the work."""
    comm = joined(os.environ)
    with ending_together(comm, args.debug):
        folder = prepare()
        from fedmpi.bench.warm import warm

        seconds = warm(comm)
    if comm.rank == 0:
        print(f"kernels ready after {seconds:.1f} s, in {folder}")
