"""Data sets: real ones from files, one embedded, one made by a formula.

`load` is the only door. Nothing here needs torch, and nothing read from a file is
ever executed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from fedmpi import user_code
from fedmpi.errors import ConfigError
from fedmpi.learn.data.data_keys import (
    Cifar100Keys,
    Cinic10Keys,
    FemnistKeys,
    FolderKeys,
    HuggingFaceKeys,
    PatternsKeys,
    RulesKeys,
    ShakespeareKeys,
    SvhnKeys,
    SyntheticKeys,
    SyntheticOnDemandKeys,
)
from fedmpi.learn.data.dataset import Dataset, OnDemand
from fedmpi.registry import Entry, Registry
from fedmpi.rng import seeded_generators

__all__ = ["DATASETS", "Dataset", "OnDemand", "load"]

_HERE = "fedmpi.learn.data."

DATASETS = Registry(
    "data set",
    "data.name",
    "a function (root, **keys) with the decorator @fedmpi.dataset",
    {
        "digits": Entry(
            "1,797 handwritten digits of 8x8, embedded (UCI, scikit-learn)",
            _HERE + "digits:digits",
        ),
        "synthetic": Entry(
            "Synthetic(a, b) after Li et al. and LEAF; natural clients",
            _HERE + "synthetic:synthetic",
            SyntheticKeys,
        ),
        "synthetic-on-demand": Entry(
            "Synthetic(a, b) drawn client by client, for any number of clients",
            _HERE + "synthetic_on_demand:synthetic_on_demand",
            SyntheticOnDemandKeys,
        ),
        "patterns": Entry(
            "grey images made by a formula, for measuring without files",
            _HERE + "patterns:patterns",
            PatternsKeys,
        ),
        "rules": Entry(
            "small problems of Mozer and Smolensky, 1988: rule-plus-exception and others",
            _HERE + "rules:rules",
            RulesKeys,
        ),
        "mnist": Entry("70,000 handwritten digits of 28x28", _HERE + "images:mnist"),
        "mnist-writers": Entry(
            "MNIST by real writer (QMNIST), 539 natural clients", _HERE + "qmnist:mnist_writers"
        ),
        "fashion-mnist": Entry(
            "70,000 grey images of clothing, 28x28", _HERE + "images:fashion_mnist"
        ),
        "cifar10": Entry("60,000 colour images of 10 classes, 32x32",
                         _HERE + "cifar:cifar10"),
        "cifar100": Entry("60,000 colour images of 100 classes, 32x32",
                          _HERE + "cifar100:cifar100", Cifar100Keys),
        "svhn": Entry("99,289 house numbers in colour, 32x32", _HERE + "svhn:svhn", SvhnKeys),
        "cinic10": Entry("270,000 colour images of 10 classes, 32x32",
                         _HERE + "folders:cinic10", Cinic10Keys),
        "femnist": Entry("handwritten digits and letters by writer, as LEAF or TFF publish them",
                         _HERE + "femnist:femnist", FemnistKeys),
        "image-folder": Entry("image files of your own: FOLDER/train/CLASS/1.png",
                              _HERE + "folders:image_folder", FolderKeys),
        "hugging-face": Entry("a folder that Hugging Face's datasets saved to disk",
                              _HERE + "hugging_face:hugging_face", HuggingFaceKeys),
        "shakespeare": Entry(
            "next character of Shakespeare's plays, by role; natural clients",
            _HERE + "shakespeare:shakespeare",
            ShakespeareKeys,
        ),
    },
    ("root",),
)


def load(
    name: str, root: Path | None = None, options: Mapping[str, Any] | None = None,
    cache: Path | None = None,
) -> Dataset:
    """Return a data set by its registered name.

    Parameters
    ----------
    name : str
        A key of DATASETS, or "package.module:object" of the user's code: a function
        (root, **options) with the decorator `fedmpi.dataset` that returns a Dataset.
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
    entry: Entry = DATASETS.find(name)
    options = entry.checked(options or {}, "configuration", "data.")
    if ":" not in name:
        return cast(Dataset, entry.make(root, options, cache))
    with user_code.config_error_at(f"data.name = {name!r}"), seeded_generators(0):
        found = entry.make(root, **options)
    if not isinstance(found, Dataset):
        raise ConfigError(
            f"data.name = {name!r}: returned a value of type {type(found).__name__}; it must "
            "return Dataset.of(...)"
        )
    return found
