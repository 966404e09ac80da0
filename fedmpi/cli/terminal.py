"""Texts from other people on a terminal: they are shown, but cannot control it."""

import sys


def printable(text):
    """Return `text` with lines and tabs, without other characters that control a terminal."""
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
