"""MNIST and Fashion-MNIST: 60,000 + 10,000 grey images of 28x28 in ten classes.

MNIST: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to
Document Recognition", Proceedings of the IEEE 86(11), 1998; commonly given as CC BY-SA 3.0.
Fashion-MNIST: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
Benchmarking Machine Learning Algorithms", arXiv:1708.07747, 2017; MIT licence.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedmpi.arrays import AnyArray
from fedmpi.learn.data import checksums, files, idx
from fedmpi.learn.data.dataset import Dataset

_SIZES = {"train": 60_000, "t10k": 10_000}


def fashion_mnist(
    root: Path | None, options: Mapping[str, Any], cache: Path | None = None
) -> Dataset:
    """Return Fashion-MNIST from `root`/fashion-mnist; no options."""
    return _load("fashion-mnist", root, files.FASHION_MNIST, cache)


def mnist(root: Path | None, options: Mapping[str, Any], cache: Path | None = None) -> Dataset:
    """Return MNIST from `root`/mnist; no options."""
    return _load("mnist", root, files.MNIST, cache)


def _load(
    name: str, root: Path | None, known: Mapping[str, str], cache: Path | None
) -> Dataset:
    paths = checksums.verify(name, root, known, cache)
    train, test = (_part(name, paths, part) for part in _SIZES)
    return Dataset.of(name, "image", train, test, classes=10)


def _part(name: str, paths: Mapping[str, Path], part: str) -> tuple[AnyArray, AnyArray]:
    size = _SIZES[part]
    x = idx.read(paths[f"{name}/{part}-images-idx3-ubyte.gz"], (size, 28, 28), "uint8")
    y = idx.read(paths[f"{name}/{part}-labels-idx1-ubyte.gz"], (size,), "uint8")
    return x[:, None], y
