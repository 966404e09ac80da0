"""Parse the words of a command line; errors are reported in two lines, once for all ranks."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn, TypeAlias

from fedmpi.analysis import quantities
from fedmpi.cli.terminal import printable
from fedmpi.comm.launch import rank_of

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""The object to which a module adds the parsers of its verbs."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors name the fault and where to find help, without the usage text."""

    def error(self, message: str) -> NoReturn:
        """Print the error on rank 0, and exit with code 2."""
        if rank_of(os.environ) == 0:
            print(f"{self.prog}: {printable(_plain(message))}\nsee: {self.prog} --help",
                  file=sys.stderr)
        raise SystemExit(2)


def parse(
    parser: Parser, argv: Sequence[str] | None = None
) -> argparse.Namespace:
    """Return the parsed words; an unknown option is reported by the verb it was given to."""
    args, unknown = parser.parse_known_args(argv)
    if not unknown:
        return args
    options = args.parser._option_string_actions if hasattr(args, "parser") else ()
    near = get_close_matches(unknown[0].partition("=")[0], options, n=1, cutoff=0.75)
    hint = "; keys of the configuration: --set section.key=value" if "--set" in options else ""
    hint = f"; did you mean {near[0]}?" if near else hint
    verb: Parser = getattr(args, "parser", parser)
    return verb.error(f"unknown: {' '.join(unknown)}{hint}")


def add_set(parser: argparse.ArgumentParser) -> None:
    """Add the option --set, whose values "a.b=v" are the list `overrides` of the parsed words."""
    parser.add_argument("--set", action="append", default=[], metavar="a.b=v", dest="overrides",
                        help="override a key of the configuration; may be repeated")


def filled(text: str) -> str:
    """Return the paragraphs of `text` with lines of at most 80 letters."""
    parts = text.split("\n\n")
    return "\n\n".join("\n".join(quantities.paragraph(part)) for part in parts)


def _plain(message: str) -> str:
    """Return argparse's message, for an unknown choice with the nearest or all known choices."""
    found = re.fullmatch(r"argument (.+): invalid choice: '(.*)' \(choose from (.+)\)", message)
    if not found:
        return message
    where, given, known = found.groups()
    known = re.findall(r"[\w-]+", known)
    near = get_close_matches(given, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"{where.partition(' [')[0]} {given!r}: unknown; {hint}"
