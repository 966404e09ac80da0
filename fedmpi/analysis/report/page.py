"""The whole page: its sections and style, and writing it to a file."""

import base64
import hashlib
import os
from collections.abc import Callable, Sequence
from importlib.resources import files

from fedmpi import __version__
from fedmpi.analysis.report.bytes_sent import kept, traffic
from fedmpi.analysis.report.clients import clients
from fedmpi.analysis.report.learning import progress
from fedmpi.analysis.report.markup import Html, join, tag
from fedmpi.analysis.report.origin import configuration, events, provenance
from fedmpi.analysis.report.study import Study, study
from fedmpi.analysis.report.summary import facts, heading, summary
from fedmpi.analysis.report.times import measured, virtual
from fedmpi.errors import ConfigError, ResultError, counted, either
from fedmpi.record.atomic import write_text
from fedmpi.record.paths import Out
from fedmpi.record.reader import Run

# (name in the address, name in the list at the top, function) of each section.
SECTIONS: tuple[tuple[str, str, Callable[[Study], Html | None]], ...] = (
    ("summary", "Summary", summary),
    ("progress", "Accuracy and loss", progress),
    ("bytes", "Bytes", traffic),
    ("kept", "Sparsity", kept),
    ("virtual", "Virtual time", virtual),
    ("clients", "Clients", clients),
    ("measured", "Measured time", measured),
    ("events", "Events", events),
    ("configuration", "Configuration", configuration),
    ("provenance", "Provenance", provenance),
)
SUFFIXES = (".html", ".htm")


def write(
    runs: Sequence[Run], path: Out, target: float | None = None, overwrite: bool = False
) -> None:
    """Write the report of Runs to the file `path`, whole or not at all.

    Raises ConfigError if the name does not end in one of SUFFIXES or the target is not an accuracy,
    ResultError if the file exists (without overwrite) or cannot be written.
    """
    path = os.fspath(path)
    if not path.lower().endswith(SUFFIXES):
        raise ConfigError(f"{path}: the name of a report must end in {either(SUFFIXES)}")
    if os.path.exists(path) and not overwrite:
        raise ResultError(f"{path}: exists; choose another name or add --overwrite "
                          "(in Python: overwrite=True)")
    write_text(path, page(runs, target))


def page(runs: Sequence[Run], target: float | None = None) -> Html:
    """Return the report of Runs as one HTML document; the same runs give the same bytes."""
    of = study(runs, target)
    found = [(name, title, part) for name, title, make in SECTIONS if (part := make(of))]
    links = [tag("li", tag("a", title, href=f"#{name}")) for name, title, _ in found]
    title = heading(of)
    body = tag(
        "body",
        tag("header", tag("h1", title), facts(of),
            tag("nav", tag("ul", *links), aria_label="Sections")),
        tag("main", *(part for _, _, part in found)),
        tag("footer", f"Written by fedmpi {__version__} from {counted(len(runs), 'result file')}."),
        script(),
    )  # fmt: skip
    return join(Html("<!DOCTYPE html>\n"),
                tag("html", head(f"{title}: fedmpi report", len(of.groups)), body, lang="en"),
                "\n")


def head(title: str, groups: int) -> Html:
    """Return the head, whose policy forbids the page to load anything from outside."""
    style = part("style.css") + "".join(
        f"body:has(#show-{i}:not(:checked)) .lines .s{i}{{display:none}}" for i in range(groups))
    policy = (f"default-src 'none'; style-src '{digest(style)}'; "
              f"script-src '{digest(part('page.js'))}'; base-uri 'none'; form-action 'none'")
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(style)),
    )


def script() -> Html:
    """Return the element of the script."""
    return tag("script", Html(part("page.js")))


def part(name: str) -> str:
    """Return a file of this folder as text."""
    return files("fedmpi.analysis.report").joinpath(name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """Return the digest by which a page's security policy allows a style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
