"""Data sets: real ones from files, one embedded, one made by a formula.

`load` is the only door. Nothing here needs torch, and nothing read from a file is
ever executed.
"""

from dataclasses import dataclass, field

from fedmpi import named
from fedmpi.errors import ConfigError
from fedmpi.learn.data import (
    cifar,
    digits,
    images,
    patterns,
    qmnist,
    rules,
    shakespeare,
    synthetic,
)
from fedmpi.learn.data.dataset import Dataset
from fedmpi.learn.data.options import Option, nearest, resolve

__all__ = ["DATASETS", "Dataset", "Option", "Source", "load", "resolve"]


@dataclass(frozen=True)
class Source:
    """One data set that can be loaded by name.

    `function(root, options, cache)` returns the Dataset; `options` is the table of the keys
    that it understands; `files` says whether it reads files below the data root.
    """

    summary: str
    function: object
    options: dict = field(default_factory=dict)
    files: bool = True


DATASETS = {
    "digits": Source(
        "1,797 handwritten digits of 8x8, embedded (UCI, scikit-learn)",
        digits.digits, files=False,
    ),
    "synthetic": Source(
        "Synthetic(a, b) after Li et al. and LEAF; natural clients",
        synthetic.synthetic, synthetic.OPTIONS, files=False,
    ),
    "patterns": Source(
        "grey images made by a formula, for measuring without files",
        patterns.patterns, patterns.OPTIONS, files=False,
    ),
    "rules": Source(
        "small problems of Mozer and Smolensky, 1988: rule-plus-exception and others",
        rules.rules, rules.OPTIONS, files=False,
    ),
    "mnist": Source("70,000 handwritten digits of 28x28", images.mnist),
    "mnist-writers": Source(
        "MNIST by real writer (QMNIST), 539 natural clients", qmnist.mnist_writers
    ),
    "fashion-mnist": Source("70,000 grey images of clothing, 28x28", images.fashion_mnist),
    "cifar10": Source("60,000 colour images of ten kinds of thing, 32x32", cifar.cifar10),
    "shakespeare": Source(
        "next character of Shakespeare's plays, by role; natural clients",
        shakespeare.shakespeare, shakespeare.OPTIONS,
    ),
}


def load(name, root=None, options=None, cache=None):
    """Return a data set by its registered name.

    Parameters
    ----------
    name : str
        A key of DATASETS, or "package.module:object" of the user's own code: a callable
        (root, **options) that returns a Dataset.
    root : Path, optional
        The data root; not needed by data sets that read no files.
    options : mapping, optional
        The data set's own keys; those left out take their defaults. Own code gets what is given.
    cache : Path, optional
        Folder in which verified files are noted, so that the next start need not hash them.

    Raises
    ------
    ConfigError
        For an unknown name or option, or own code that fails.
    DataError
        If a file is missing, truncated or altered; the message names it.
    """
    if ":" in name:
        return _own(name, root, options or {})
    if name not in DATASETS:
        raise ConfigError(f"data.name = {name!r}: no such data set; {nearest(name, DATASETS)}")
    source = DATASETS[name]
    return source.function(root, resolve(f"data.{name}", source.options, options or {}), cache)


def _own(name, root, options):
    """Return the data set that the user's own code makes."""
    make = named.find(name, "data.name")
    with named.blamed(f"data.name = {name!r}"):
        found = make(root, **options)
    if not isinstance(found, Dataset):
        raise ConfigError(
            f"data.name = {name!r}: returned a {type(found).__name__}; return Dataset.of(...)"
        )
    return found
