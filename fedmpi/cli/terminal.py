"""Words of others on a terminal: shown, and not obeyed."""

import sys


def printable(text):
    """Return `text` with its lines and tabs, and no other character that steers a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def show_all():
    """Have a terminal that lacks a character show a question mark in its place."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


def can_show(text):
    """Say whether the standard output has all characters of `text`."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
