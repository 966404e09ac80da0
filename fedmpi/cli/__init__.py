"""The command line: one function a verb. The only place that prints and reads the environment.

Verbs import what they need when they run, so that those which only read start at once.
"""

import argparse
import sys
import traceback

from fedmpi import __version__
from fedmpi.cli import bench, cluster, data, doctor, inspect, read, run
from fedmpi.cli.terminal import printable
from fedmpi.errors import FedmpiError

EPILOG = """exit codes: 0 done; 1 failed; 2 bad use or configuration;
75 stopped early with a complete checkpoint (go on with resume)"""


def main(argv=None):
    """Run one verb and return its exit code."""
    args = _parser().parse_args(argv)
    try:
        return args.verb(args) or 0
    except FedmpiError as error:
        report(error, args.debug)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("fedmpi: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        report(error, args.debug)
        return 1


def report(error, debug):
    """Say what went wrong: one or two lines, and the traceback before it if asked for."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, FedmpiError):
        text = str(error)
    else:  # not foreseen, so the place helps whoever looks into it
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = (
            f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})\n"
            "this was not foreseen; --debug shows how it came about"
        )
    print(f"fedmpi: {printable(text)}", file=sys.stderr, flush=True)


def _parser():
    parser = argparse.ArgumentParser(
        prog="fedmpi",
        description="Federated learning with sparse, pruned clients, simulated on MPI ranks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fedmpi {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for module in (run, cluster, inspect, data, read, doctor, bench):
        module.add_verbs(verbs)
    return parser


def verb(verbs, function, summary):
    """Add the verb named like `function` and return its parser."""
    name = function.__name__.rstrip("_")  # list_ must not hide the built-in
    parser = verbs.add_parser(name, help=summary, description=function.__doc__)
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                        help="show tracebacks of errors")
    parser.set_defaults(verb=function)
    return parser
