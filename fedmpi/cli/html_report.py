"""The verb that writes a page about result files. It needs neither MPI nor torch."""

import os
import sys
from argparse import Namespace

from fedmpi.cli.words import Verbs
from fedmpi.errors import ConfigError


def add_verbs(verbs: Verbs) -> None:
    """Add the verb of this module to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, report, "write one HTML page about one or several runs",
                  "fedmpi report fedavg.h5 fedskel.h5 -o report.html --target 0.80")
    parser.add_argument("outs", metavar="OUT", nargs="+", help="result files")
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help=".html file to write")
    parser.add_argument("--target", type=float, help="test accuracy to reach, such as 0.80")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")


def report(args: Namespace) -> None:
    """Write one self-contained HTML page: figures, tables, and how to reproduce the results."""
    from fedmpi.analysis.report.page import write
    from fedmpi.cli.read import opened

    runs = opened(args.outs)
    if os.path.exists(args.out) and any(os.path.samefile(args.out, out) for out in args.outs):
        raise ConfigError(f"{args.out}: is one of the result files; name another file")
    write(runs, args.out, args.target, args.overwrite)
    print(f"report in {args.out}", file=sys.stderr)
