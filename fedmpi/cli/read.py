"""The verbs that read result files. They need neither MPI nor torch."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fedmpi.cli.terminal import can_show, printable
from fedmpi.cli.words import Verbs
from fedmpi.errors import ConfigError

if TYPE_CHECKING:
    from fedmpi.record.reader import Run

VIEWS = ("traffic", "fedskel")  # of compare


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs of this module to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, info, "show status, rounds, ranks, versions, configuration",
                  "fedmpi info out.h5")
    parser.add_argument("out", metavar="OUT", help="result file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser = verb(verbs, table, "print the numbers of every round, or of every client",
                  "fedmpi table out.h5 --columns round,test_accuracy,bytes_up --format csv")
    parser.add_argument("out", metavar="OUT", help="result file")
    parser.add_argument("--clients", action="store_true",
                        help="a row for each client of each round")
    parser.add_argument("--columns", help="names separated by commas (see list columns)")
    parser.add_argument("--format", choices=("tsv", "csv", "json"), default="tsv",
                        help="format of the output (default: tsv)")
    _add_compare(verbs)
    parser = verb(verbs, export, "write CSV, TensorBoard, MLflow or W&B files",
                  "fedmpi export results/*.h5 --to tensorboard -o logs")
    parser.add_argument("outs", metavar="OUT", nargs="+", help="result files")
    parser.add_argument("--to", choices=("csv", "tensorboard", "mlflow", "wandb"), default="csv",
                        help="format; all but csv need the extra fedmpi[trackers] (default csv)")
    parser.add_argument("-o", "--out", default="export", metavar="DIR",
                        help="folder to write to (default: export)")
    parser = verb(verbs, upgrade, "update a result file of an older schema",
                  "fedmpi upgrade old.h5")
    parser.add_argument("out", metavar="OUT", help="result file")


def _add_compare(verbs: Verbs) -> None:
    from fedmpi.cli import verb

    parser = verb(verbs, compare, "compare runs: accuracy, and its cost in bytes and time",
                  "fedmpi compare results/*.h5 --target 0.80 --figure paper.pdf")
    parser.add_argument("outs", metavar="OUT", nargs="*", default=[], help="result files")
    parser.set_defaults(stray=())
    parser.add_argument("--target", type=float, help="test accuracy to reach, such as 0.80")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw it: .png, .svg, .pdf")
    parser.add_argument("--figure", type=Path, metavar="FILE",
                        help="draw the mean over seeds, in a band of one standard deviation up and "
                        "down, for a paper: .pdf, .svg, .png")
    parser.add_argument("--columns", type=int, choices=(1, 2),
                        help="columns of a page that the figure fills (default 2)")
    parser.add_argument("--each", action="store_true",
                        help="a row and a curve for each run, even if runs differ only in the seed")
    parser.add_argument("--no-curves", action="store_true", help="print no curves, only tables")
    parser.add_argument("--views", action=_Views, nargs="?", metavar="VIEW",
                        help="also show what was sent as each paper counts it (traffic, the "
                        "default), or the accuracy as FedSkel's framework scores it (fedskel)")


def opened(outs: Iterable[str]) -> "list[Run]":
    """Return the Runs of result files; raise the limit of open files, since each holds its file."""
    import resource

    from fedmpi.record import reader

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a system whose limit is not a number
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return [reader.open(out) for out in outs]


def info(args: argparse.Namespace) -> None:
    """Show the facts and the status of a run."""
    from fedmpi.analysis.text_tables import as_json, info_text
    from fedmpi.record import reader

    with reader.open(args.out) as run:
        print(as_json(run.info()) if args.json else printable(info_text(run)))


def table(args: argparse.Namespace) -> None:
    """Write the numbers of every round, or of every client of every round."""
    from fedmpi.analysis import text_tables
    from fedmpi.record import reader

    columns = None
    if args.columns is not None:  # "" is a list without names, and is refused
        columns = [name.strip() for name in args.columns.split(",") if args.columns.strip()]
    with reader.open(args.out) as run:
        lines = text_tables.table(run, clients=args.clients, columns=columns, format=args.format)
        sys.stdout.writelines(line + "\n" for line in lines)


def compare(args: argparse.Namespace) -> None:
    """Compare runs: accuracy over rounds, bytes and virtual seconds, and the price of a target."""
    from fedmpi.analysis import seeds
    from fedmpi.analysis.compare import compare as comparison_of
    from fedmpi.analysis.text_tables import as_json

    for place, out in args.stray:
        args.outs.insert(place, out)
    if args.columns and not args.figure:
        raise ConfigError(f"--columns {args.columns}: is for a figure; add --figure FILE, or "
                          "leave it out")
    view, runs = _view(args.views), opened(args.outs)
    comparison = comparison_of(runs, args.target)
    found = seeds.rows(runs, comparison.target)
    grouped = len(found) < len(runs) and not args.each
    _draw(args, runs, comparison.target, each=not grouped)
    rows, counted = list(comparison.rows), [view.count(run) for run in runs] if view else []
    if args.json:
        if counted:
            rows = [row | {"views": seen} for row, seen in zip(rows, counted, strict=True)]
        print(as_json({"target": comparison.target, "rows": rows, "groups": found}))
        return
    shown = seeds.text(found, comparison.target) if grouped else comparison.text()
    notes = comparison.remarks() if grouped else []
    print(printable("\n".join([shown, *notes])))
    if view:
        print(printable("\n" + view.text([row["run"] for row in rows], counted)))
    if not args.no_curves:
        _show_curves(runs, each=not grouped)


def _draw(
    args: argparse.Namespace, runs: "Sequence[Run]", target: float | None, each: bool
) -> None:
    """Draw the pictures that --plot and --figure ask for; --plot shows `each` run, or means."""
    if args.plot:
        from fedmpi.analysis.draw import draw

        draw(runs, str(args.plot), target, each)
        print(f"drawn in {args.plot}", file=sys.stderr)
    if args.figure:
        from fedmpi.analysis.paper import figure

        figure(runs, str(args.figure), args.columns or 2, target)
        print(f"figure in {args.figure}", file=sys.stderr)


def _show_curves(runs: "Sequence[Run]", each: bool) -> None:
    """Print curves of accuracy, of `each` run or means, where the terminal has their letters."""
    from fedmpi.analysis import curves

    drawn = curves.text(runs, each=each)
    shown = printable(drawn) if can_show(drawn) else "(curves need a terminal of UTF-8)"
    print("\n" + shown)


def export(args: argparse.Namespace) -> None:
    """Write the rounds and the configuration of runs in the format of a tracker; nothing is sent.

    TensorBoard: tensorboard --logdir DIR. MLflow: mlflow ui --backend-store-uri
    sqlite:///DIR/mlflow.db. Weights & Biases: wandb sync DIR/*/wandb/offline-run-*.
    """
    from fedmpi.analysis import trackers

    for place in dict.fromkeys(trackers.export(opened(args.outs), args.to, args.out)):
        print(f"{args.to} in {place}", file=sys.stderr)


class _Views(argparse.Action):
    """`--views` without a value, with the name of a view, or before a file to compare."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any,
        option_string: str | None = None,
    ) -> None:
        named = value in (None, *VIEWS)
        namespace.views = value if named and value else VIEWS[0]
        namespace.stray = [] if named else [(len(namespace.outs or ()), value)]


class _View(NamedTuple):
    """A view of compare: `count` gives its result of a run, `text` the table of the runs."""

    count: "Callable[[Run], Any]"
    text: Callable[..., str]


def _view(name: str | None) -> _View | None:
    """Return the view named `name`, None for no view."""
    from fedmpi.analysis import own_models, views

    if name is None:
        return None
    return {"traffic": _View(views.view, views.text),
            "fedskel": _View(own_models.scores, own_models.text)}[name]


def upgrade(args: argparse.Namespace) -> None:
    """Update a result file of an older schema; the old file is replaced at the end."""
    from fedmpi.record import schema
    from fedmpi.record.upgrade import upgrade as bring_up

    old = bring_up(args.out)
    same = old == schema.VERSION
    print(f"{args.out}: schema {old}" + (", the newest" if same else f" became {schema.VERSION}"))
