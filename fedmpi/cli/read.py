"""The verbs that read result files. They need neither MPI nor torch."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from fedmpi.cli.terminal import can_show, printable


def add_verbs(verbs):
    """Add the verbs of this module to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, info, "status, rounds, ranks, versions, configuration",
                  "fedmpi info out.h5")
    parser.add_argument("out", metavar="OUT", help="result file")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser = verb(verbs, table, "the numbers of every round, or of every client",
                  "fedmpi table out.h5 --columns round,test_accuracy,bytes_up --format csv")
    parser.add_argument("out", metavar="OUT", help="result file")
    parser.add_argument("--clients", action="store_true", help="rows of clients, not of rounds")
    parser.add_argument("--columns", help="names separated by commas (see list columns)")
    parser.add_argument("--format", choices=("tsv", "csv", "json"), default="tsv")
    parser = verb(verbs, compare, "what several runs paid for the same accuracy",
                  "fedmpi compare results/*.h5 --target 0.80 --figure paper.pdf")
    parser.add_argument("outs", metavar="OUT", nargs="+", help="result files")
    parser.add_argument("--target", type=float, help="test accuracy to reach, such as 0.80")
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw it: .png, .svg, .pdf")
    parser.add_argument("--figure", type=Path, metavar="FILE",
                        help="draw mean and spread over seeds for a paper: .pdf, .svg, .png")
    parser.add_argument("--columns", type=int, choices=(1, 2), default=2,
                        help="columns of a page that the figure fills (default 2)")
    parser.add_argument("--each", action="store_true",
                        help="a row for each run, also where runs differ in the seed alone")
    parser.add_argument("--no-curves", action="store_true", help="tables only")
    parser.add_argument("--views", action="store_true",
                        help="also what was sent as each paper counts it; --views fedskel: how "
                        "accurate the runs are as FedSkel's framework scores")
    parser = verb(verbs, upgrade, "bring a result file of an older schema to the newest",
                  "fedmpi upgrade old.h5")
    parser.add_argument("out", metavar="OUT", help="result file")


def info(args):
    """Show what a run is and where it stands."""
    from fedmpi.analysis.text_tables import info_text
    from fedmpi.record import reader

    with reader.open(args.out) as run:
        print(json.dumps(run.info(), indent=2) if args.json else printable(info_text(run)))


def table(args):
    """Write the numbers of every round, or of every client of every round."""
    from fedmpi.analysis import text_tables
    from fedmpi.record import reader

    columns = [name.strip() for name in args.columns.split(",")] if args.columns else None
    with reader.open(args.out) as run:
        lines = text_tables.table(run, clients=args.clients, columns=columns, format=args.format)
        sys.stdout.writelines(line + "\n" for line in lines)


def compare(args):
    """Compare runs: accuracy over rounds, bytes and virtual seconds, and the price of a target."""
    from fedmpi.analysis import curves, seeds
    from fedmpi.analysis.compare import compare as comparison_of
    from fedmpi.record import reader

    outs, view = _outs_and_view(args)
    runs = [reader.open(out) for out in outs]
    comparison = comparison_of(runs, args.target)
    if args.plot:
        from fedmpi.analysis.draw import draw

        draw(runs, str(args.plot), comparison.target)
        print(f"drawn in {args.plot}", file=sys.stderr)
    if args.figure:
        from fedmpi.analysis.paper import figure

        figure(runs, str(args.figure), args.columns, comparison.target)
        print(f"figure in {args.figure}", file=sys.stderr)
    found = seeds.rows(runs, comparison.target)
    rows, counted = comparison.rows, [view[0](run) for run in runs] if view else []
    if args.json:
        if counted:
            rows = [row | {"views": seen} for row, seen in zip(rows, counted, strict=True)]
        print(json.dumps({"target": comparison.target, "rows": rows, "groups": found}, indent=2,
                         default=asdict))
    else:
        grouped = len(found) < len(runs) and not args.each
        shown = seeds.text(found, comparison.target) if grouped else comparison.text()
        notes = ["", *comparison.notes] if grouped and comparison.notes else []
        print(printable("\n".join([shown, *notes])))
        if counted:
            print(printable("\n" + view[1]([row["run"] for row in rows], counted)))
        if not args.no_curves:
            drawn = curves.text(runs)
            shown = printable(drawn) if can_show(drawn) else "(curves need a terminal of UTF-8)"
            print("\n" + shown)


def _outs_and_view(args):
    """Return the files to compare, and (the function of a run, the text of what it gives).

    The name of a view stands among the files, since --views alone has none.
    """
    from fedmpi.analysis import own_models, views

    if not args.views:
        return args.outs, None
    outs = [out for out in args.outs if out != "fedskel" or Path(out).exists()]
    if len(outs) < len(args.outs):
        return outs, (own_models.scores, own_models.text)
    return outs, (views.view, views.text)


def upgrade(args):
    """Bring a result file of an older schema to the newest, by temporary file and rename."""
    from fedmpi.record import schema
    from fedmpi.record.upgrade import upgrade as bring_up

    old = bring_up(args.out)
    same = old == schema.VERSION
    print(f"{args.out}: schema {old}" + (", the newest" if same else f" became {schema.VERSION}"))
