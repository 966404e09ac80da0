"""The command line: one function a verb. The only place that prints and reads the environment.

Verbs import what they need when they run, so that those which only read start at once.
"""

import argparse
import errno
import os
import sys
import traceback
from contextlib import suppress
from inspect import cleandoc

from fedmpi import __version__
from fedmpi.cli import (
    benchmarks,
    cluster,
    data_files,
    diagnosis,
    follow,
    html_report,
    inspect,
    new,
    read,
    run,
)
from fedmpi.cli.terminal import printable, show_all
from fedmpi.cli.words import Parser, parse
from fedmpi.comm.launch import launched, rank_of
from fedmpi.errors import FedmpiError

EPILOG = """exit codes: 0 done; 1 failed; 2 bad use or configuration;
75 stopped early with a complete checkpoint (go on with resume)"""
INTERRUPTED = 130  # as shells count a program that SIGINT has ended
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


def main(argv=None):
    """Run one verb and return its exit code."""
    show_all()
    args = parse(_parser(), argv)
    with suppress(FileNotFoundError):  # own code may lie where the command is started
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
    try:
        code = args.verb(args) or 0
        print(end="", flush=True)
        return code
    except FedmpiError as error:
        report(error, args.debug)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has seen enough
        _drop_output()
        return 0
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        if isinstance(error, OSError) and not error.filename and error.errno in FULL:
            error = FedmpiError(f"the output cannot be written: {error.strerror}; make room")
            _drop_output()
        if isinstance(error, MemoryError):
            said = " ".join(str(error).split())
            error = FedmpiError(
                f"out of memory{said and ': ' + said}\n"
                "see check --estimate; take a smaller model, batch or data set, or more nodes"
            )
        report(error, args.debug)
        return 1


def _interrupted():
    """Say that Ctrl-C came before there was anything to keep; return the exit code."""
    if rank_of(os.environ) == 0:
        print("fedmpi: interrupted", file=sys.stderr, flush=True)
    if launched(os.environ):  # an orderly end would wait for the other ranks
        os._exit(INTERRUPTED)
    return INTERRUPTED


def _drop_output():
    """Let what was not written yet go nowhere, so that Python's end does not trip over it."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    parser = Parser(
        prog="fedmpi",
        description="Federated learning with sparse, pruned clients, simulated on MPI ranks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fedmpi {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    # The longer name keeps the verbs and what they do on one line each.
    verbs = parser.add_subparsers(metavar="VERB [OPTIONS]", required=True)
    for module in (
        run, cluster, follow, inspect, new, data_files, read, html_report, diagnosis, benchmarks,
    ):
        module.add_verbs(verbs)
    return parser


def verb(verbs, function, summary, example):
    """Add the verb named like `function` and return its parser; its help ends with `example`."""
    name = function.__name__.rstrip("_").replace("_", "-")  # list_ must not hide the built-in
    parser = verbs.add_parser(
        name, help=summary, description=cleandoc(function.__doc__), epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                        help="show tracebacks of errors")
    parser.set_defaults(verb=function, parser=parser)
    return parser
