"""Paths of the files that a run keeps beside its result file while it runs."""

import os
from pathlib import Path
from typing import TypeAlias

Out: TypeAlias = str | os.PathLike[str]
"""The path of a result file."""


def heartbeat_path(out: Out) -> Path:
    """Return the path of OUT.alive, beside the file itself if `out` is a link."""
    return Path(f"{os.path.realpath(out)}.alive")


def failed_path(out: Out) -> Path:
    """Return the path of OUT.failed, beside the file itself if `out` is a link."""
    return Path(f"{os.path.realpath(out)}.failed")
