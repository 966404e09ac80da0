"""Several runs at once: tables of them, and mean and spread over seeds."""

from typing import Any

from fedmpi.analysis import seeds
from fedmpi.analysis.compare import compare
from fedmpi.errors import ResultError, nearest
from fedmpi.record.reader import Run
from fedmpi.record.table import optional
from fedmpi.toml_text import leaves


class Runs(list[Run]):
    """A list of Runs, as `fedmpi.open_many` returns it."""

    def spread(self, target: float | None = None) -> list[dict[str, Any]]:
        """Return a dict for each configuration, as `fedmpi.analysis.seeds.rows` does."""
        return seeds.rows(list(self), target)

    def by(self, *keys: str) -> dict[Any, "Runs"]:
        """Return {values of dotted keys such as "algorithm.name": Runs}, a tuple for several keys.

        A key that a run does not have counts as None. A list becomes a tuple, and a table in it,
        such as a stage, a tuple of (key, value). Raises ResultError for a key that no run has.
        """
        trees = [dict(leaves(run.config)) for run in self]
        known = dict.fromkeys(key for tree in trees for key in [*tree, "stage"])
        for key in keys:
            if trees and key not in known:
                raise ResultError(f"by: no run has the key {key!r}; {nearest(key, known)}")
        found: dict[Any, Runs] = {}
        for run, tree in zip(self, trees, strict=True):
            values = tuple(tree.get(key) for key in keys)
            values = tuple(_hashable(value) for value in values)
            found.setdefault(values[0] if len(keys) == 1 else values, Runs()).append(run)
        return found

    def to_pandas(self, target: float | None = None) -> Any:
        """Return a DataFrame with a row for each run: its configuration and its results.

        The columns are the dotted keys of the configurations and the columns of `fedmpi compare`.
        Raises ResultError if pandas is not installed.
        """
        pandas = optional("pandas")
        rows = compare(list(self), target).rows if self else ()
        return pandas.DataFrame([dict(leaves(run.config)) | row
                                 for run, row in zip(self, rows, strict=True)])


def _hashable(value: Any) -> Any:
    """Return a configured value with tuples in place of lists and dicts."""
    if isinstance(value, dict):
        return tuple((key, _hashable(inner)) for key, inner in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
