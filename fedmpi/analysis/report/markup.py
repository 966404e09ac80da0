"""HTML from Python; text cannot become markup, since every value that is not Html is escaped."""

import html
import re
from collections.abc import Container, Iterable, Iterator, Sequence

EMPTY = {"meta", "br", "col", "input", "path", "rect", "line", "circle", "use"}
LONGEST = 20_000  # characters of one text: result files may come from anyone
# Control characters, lone surrogates, noncharacters, and controls of a text's direction.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\u202a-\u202e\u2066-\u2069]"
)


class Html(str):
    """Text that is already markup and is not escaped again."""


def escaped(value: object) -> Html:
    """Return any value as text without markup and without control characters.

    Characters that cannot be shown, such as a lone surrogate in a file's name, become U+FFFD.
    """
    text = str(value)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ... ({len(text) - LONGEST:,} more characters)"
    return Html(html.escape(HIDDEN.sub("\ufffd", text)))


def join(*children: object) -> Html:
    """Return the children joined: Html unchanged, None left out, lists flattened."""
    parts: list[Html] = []
    for child in children:
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, (list, tuple)):
            parts.append(join(*child))
        elif child is not None:
            parts.append(escaped(child))
    return Html("".join(parts))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element; `class_` stands for class, and `stroke_width` for stroke-width.

    Attributes that are True have no value; those that are None or False are left out.
    """
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{escaped(value)}"')
    opened = " ".join(words)
    if name in EMPTY:
        return Html(f"<{opened}/>")
    return Html(f"<{opened}>{join(*children)}</{name}>")


def table(
    caption: str,
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    right: Container[int] = (),
    class_: str | None = None,
) -> Html:
    """Return a table that scrolls sideways if it is too wide.

    The first cell of a row is its head; `right` holds the indices of columns of numbers.
    """
    def cells(kind: str, row: Sequence[object]) -> Iterator[Html]:
        for i, cell in enumerate(row):
            scope = ("col" if kind == "head" else "row") if kind == "head" or i == 0 else None
            number = "n" if i in right else None
            yield tag("th" if scope else "td", cell, scope=scope, class_=number)

    shown = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *cells("head", head))),
        tag("tbody", *(tag("tr", *cells("body", row)) for row in rows)),
        class_=class_,
    )
    return tag("div", shown, class_="scroll", tabindex=0, role="region", aria_label=plain(caption))


def plain(caption: str) -> str:
    """Return a caption without tags, for the name of a region."""
    if not isinstance(caption, Html):
        return caption
    return html.unescape("".join(part.rpartition(">")[2] for part in caption.split("<")))


def details(summary: object, *children: object) -> Html:
    """Return a part that is folded until the reader opens it."""
    return tag("details", tag("summary", summary), *children)


def section(name: str, title: str, *children: object) -> Html:
    """Return a section with its heading; `name` is its address in the page."""
    return tag("section", tag("h2", title, id=f"{name}-title"), *children, id=name,
               aria_labelledby=f"{name}-title")
