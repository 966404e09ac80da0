"""Words of others on a terminal: shown, and not obeyed."""


def printable(text):
    """Return `text` with its lines and tabs, and no other character that steers a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
