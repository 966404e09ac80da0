"""The verb for the files of data sets: data fetch, data verify."""

from argparse import Namespace
from pathlib import Path

from fedmpi.cli.machine import data_root
from fedmpi.cli.words import Verbs


def add_verbs(verbs: Verbs) -> None:
    """Add the verb of this module to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, data, "fetch the files of a data set, or verify them",
                  "fedmpi data fetch fashion-mnist")
    parser.add_argument("what", choices=("fetch", "verify"))
    parser.add_argument("name", metavar="NAME", help="a data set, see list datasets")
    parser.add_argument("--root", type=Path, help="folder of the data sets (default: FEDMPI_DATA, "
                        "else ~/.cache/fedmpi/data)")


def data(args: Namespace) -> None:
    """Fetch the files of a data set from where they were published, or verify their checksums."""
    from fedmpi.learn.data import fetch

    lines = getattr(fetch, args.what)(args.name, args.root or data_root())
    print("\n".join(lines))
