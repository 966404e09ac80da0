"""The command line, with one function for each verb.

Only this package prints, and only it and api.py read the environment. Verbs import their modules
when they run, so verbs that only read start at once.
"""

import argparse
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from inspect import cleandoc
from typing import Any, TypeGuard

from fedmpi import __version__
from fedmpi.cli import (
    bench_run,
    benchmarks,
    cluster,
    compile_kernels,
    data_files,
    diagnosis,
    follow,
    html_report,
    inspect,
    new,
    read,
    run,
)
from fedmpi.cli.terminal import drop_output, hold_streams, printable, show_all
from fedmpi.cli.words import Parser, Verbs, filled, parse
from fedmpi.comm.launch import launched, rank_of
from fedmpi.comm.leave import end_all, end_all_at_start
from fedmpi.errors import FedmpiError
from fedmpi.experiment.stop import INTERRUPTED
from fedmpi.user_code import own_frames

EPILOG = """exit codes: 0 done; 1 failed; 2 bad use or configuration;
75 stopped early with a complete checkpoint (continue with resume)"""
RUNS = run.run, run.resume
JOINING = (*RUNS, benchmarks.collectives, benchmarks.scale, bench_run.run,
           compile_kernels.warmup, diagnosis.doctor)  # verbs that all ranks join
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    hold_streams()
    show_all()
    args = parse(_parser(), argv)
    _hear_interrupts(args.verb)
    with suppress(FileNotFoundError):  # users' code may be in the folder where the command starts
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
    try:
        code = args.verb(args) or 0
        print(end="", flush=True)
        return code
    except FedmpiError as error:
        report(error, args.debug)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has closed it
        drop_output()
        return 0
    except KeyboardInterrupt:
        return _interrupted(args.verb)
    except Exception as error:
        report(error, args.debug)
        if _is_full(error):
            drop_output()
        if args.verb in JOINING:
            end_all_at_start(os.environ, 1)  # other ranks may not fail, and would wait for this one
        return 1


def _hear_interrupts(verb: Callable[..., Any]) -> None:
    """Let SIGINT raise KeyboardInterrupt, but end at once verbs that load much or join ranks.

    These verbs have nothing to clean up until they set their own handlers. A KeyboardInterrupt
    could be lost while modules are loaded, and is not raised inside MPI_Init.
    """
    usual = signal.SIG_DFL, signal.default_int_handler
    if signal.getsignal(signal.SIGINT) in usual:  # not under nohup, or inside another program
        starts = verb in RUNS or (verb in JOINING and launched(os.environ))
        with suppress(ValueError):  # only the main thread may set handlers
            signal.signal(signal.SIGINT, usual[0] if starts else usual[1])


def _interrupted(verb: Callable[..., Any]) -> int:
    """Print that Ctrl-C ended the command before it had a result; return the exit code."""
    if rank_of(os.environ) == 0:
        print("fedmpi: interrupted", file=sys.stderr, flush=True)
    if verb in JOINING:
        end_all_at_start(os.environ, INTERRUPTED)
    if launched(os.environ):  # an orderly exit would wait for the other ranks
        end_all(INTERRUPTED)
    return INTERRUPTED


def report(error: BaseException, debug: bool) -> None:
    """Print an error in one or two lines, after its traceback if `debug`."""
    if debug:
        traceback.print_exception(error)
    print(f"fedmpi: {printable(_words(error))}", file=sys.stderr, flush=True)


def _words(error: BaseException) -> str:
    """Return the message for an error."""
    if isinstance(error, FedmpiError):
        return str(error)
    if _is_full(error):
        return f"the output cannot be written: {error.strerror}; make room"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror} (--debug shows where)"
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return (f"out of memory{said and ': ' + said}\n"
                "see check --estimate; take a smaller model, batch or data set, or more nodes")
    # An unexpected error: its place in the code helps to find the cause.
    frames = traceback.extract_tb(error.__traceback__)
    last = (own_frames(frames) or frames)[-1]
    return (f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})\n"
            "this is an unexpected error; --debug shows the traceback")


def _is_full(error: BaseException) -> TypeGuard[OSError]:
    """Return whether an error means that the output went to a full disk."""
    return isinstance(error, OSError) and not error.filename and error.errno in FULL


def _parser() -> Parser:
    parser = Parser(
        prog="fedmpi",
        description="Federated learning with sparse, pruned clients, simulated on MPI ranks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fedmpi {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    # The longer metavar keeps each verb and its summary on one line.
    verbs = parser.add_subparsers(metavar="VERB [OPTIONS]", required=True)
    for module in (
        run, cluster, follow, inspect, new, data_files, read, html_report, diagnosis, benchmarks,
        compile_kernels,
    ):
        module.add_verbs(verbs)
    return parser


def verb(
    verbs: Verbs, function: Callable[..., Any], summary: str, example: str
) -> argparse.ArgumentParser:
    """Add the verb named like `function` and return its parser; its help ends with `example`."""
    name = function.__name__.rstrip("_").replace("_", "-")  # list_ must not hide the built-in
    parser = verbs.add_parser(
        name, help=summary, description=filled(cleandoc(function.__doc__ or "")),
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                        help="show tracebacks of errors")
    parser.set_defaults(verb=function, parser=parser)
    return parser
