"""How Sphinx builds the manual: make docs."""

import re

import fedmpi.config  # noqa: F401  autodoc sets TYPE_CHECKING, and pydantic then fails on it
from fedmpi import __version__

project = "fedmpi"
author = project_copyright = "fedmpi developers"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
exclude_patterns = ["figures"]
html_theme = "furo"
autodoc_member_order = "bysource"
napoleon_use_ivar = True  # what a class lists as attributes may be members too
autodoc_mock_imports = ["mpi4py"]
# ref.python: the type `bytes` in a signature might also be an attribute of this name.
suppress_warnings = ["myst.xref_missing", "myst.header", "ref.python"]


def setup(app):
    """Take |x| in docstrings for a magnitude, not for a substitution of reStructuredText.

    Attributes that share a line, "x, y : int", are a single name: a blank would end it.
    """

    def plain(app, what, name, obj, options, lines):
        for number, line in enumerate(lines):
            if field := re.match(r":(?:ivar|vartype) [\w, ]+:", line):
                kind, _, names = field[0].partition(" ")
                line = f"{kind} {names.replace(' ', '')}{line[field.end():]}"
            lines[number] = line.replace("|", r"\|")

    app.connect("autodoc-process-docstring", plain)
