"""Check that this version of fedmpi can continue a run that another version began."""

from collections.abc import Mapping
from typing import Any

import fedmpi
from fedmpi.errors import ResultError
from fedmpi.experiment.agree import changed
from fedmpi.experiment.provenance import commit, recorded_in
from fedmpi.record.paths import Out


def check_versions(out: Out, force: bool) -> None:
    """Raise ResultError if this version of fedmpi cannot continue the run of the file `out`.

    Another version continues it only with `force`. New rounds need the newest schema.
    """
    from fedmpi.record.writer import check_schema  # imports h5py, on rank 0 alone

    refuse_other(out, recorded_in(out), force)
    check_schema(out)


def refuse_other(out: Out, recorded: Mapping[str, Any], force: bool) -> None:
    """Raise ResultError if another version of fedmpi wrote the facts `recorded`, unless `force`."""
    then, now = str(recorded.get("fedmpi", fedmpi.__version__))[:40], fedmpi.__version__
    if then != now and not force:
        raise ResultError(
            f"{out}: fedmpi {then} wrote it, and fedmpi {now} may continue it with other numbers\n"
            f"resume it with fedmpi {then}, or run the experiment again, or continue with --force, "
            "which notes the change in the file"
        )


def other_code(recorded: Mapping[str, Any]) -> list[str]:
    """Return how fedmpi's own code differs from the code that wrote the facts `recorded`, as texts.

    Commits are compared only if both are known, as in two states of one checkout.
    """
    if found := changed(recorded, {"fedmpi": fedmpi.__version__}):
        return found
    then, now = str(recorded.get("git_commit", "")), commit()
    if not then or not now or then == now:
        return []
    return [f"commit of fedmpi ({_short(then)} then, {_short(now)} now)"]


def other_engine(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return a warning if another engine, or another width of vectors, continues a run, or "".

    `recorded` holds the facts of the last start, `now` those of the engine.
    """
    before = recorded.get("engine")
    compared = {name: now[name] for name in ("name", "vector_width") if name in now}
    found = changed(before, compared) if isinstance(before, dict) else []
    if not found:
        return ""
    return f"the engine is not that of the last start, so last bits may differ: {'; '.join(found)}"


def _short(commit: str) -> str:
    """Return the first digits of a commit, with its mark if files differed from it."""
    digits, dash, rest = commit[:80].partition("-")
    return digits[:12] + dash + rest
