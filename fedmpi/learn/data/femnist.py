"""FEMNIST: handwritten digits and letters, 28x28 in 62 classes, by writer.

S. Caldas et al., "LEAF: A Benchmark for Federated Settings", arXiv:1812.01097, from G. Cohen et
al., "EMNIST", arXiv:1702.05373 (NIST's special database 19). It is read in either of two forms:

- source = "leaf": the files that LEAF's scripts write, femnist/leaf/{train,test}/*.json;
- source = "tff": TensorFlow Federated's femnist/tff/fed_emnist_{train,test}.h5, 3,400 writers.

In these files pixels are floats, 1 for white paper; here they become uint8. LEAF's scripts draw a
random sample, so their files have no checksum. For TFF's files, the number of samples is compared
with the published number.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import ArrayLike

from fedmpi.arrays import Integers, Octets
from fedmpi.errors import DataError, MissingDataError
from fedmpi.learn.data.dataset import Dataset
from fedmpi.learn.data.own_files import FAULTS

CLASSES = 62
COUNTS = {"train": 671_585, "test": 77_483}  # samples of TFF's files
_Part: TypeAlias = tuple[Octets, Integers, list[str]]
_HOW = "put them there by hand, or set FEDMPI_DATA or [data] root to where they are"


def femnist(
    root: Path | None, options: Mapping[str, Any], cache: Path | None = None
) -> Dataset:
    """Return FEMNIST, whose groups are the writers; option source: leaf or tff."""
    return read(Path(root or "."), options["source"])


def read(root: Path, source: str, counts: Mapping[str, int] | None = None) -> Dataset:
    """Return the Dataset below `root`; `counts` are the required numbers of samples, if known."""
    parts = {part: (_leaf if source == "leaf" else _tff)(root, part) for part in COUNTS}
    for part, wanted in (counts or {}).items():
        if (found := len(parts[part][1])) != wanted:
            raise DataError(f"femnist: {found:,} samples for {part}, not the published {wanted:,}")
    names = {name: n for n, name in enumerate(sorted({*parts["train"][2], *parts["test"][2]}))}
    train, test = parts["train"], parts["test"]
    here, there = ([names[name] for name in of] for of in (train[2], test[2]))
    return Dataset.of("femnist", "image", train[:2], test[:2], CLASSES, (here, there))


def verify(root: Path) -> list[str]:
    """Return a line of text for each source that is present, with its number of samples."""
    there = [source for source in ("leaf", "tff") if Path(root, "femnist", source).is_dir()]
    if not there:
        raise MissingDataError(f"femnist: neither femnist/leaf nor femnist/tff in {root}; {_HOW}")
    lines = []
    for source in there:
        found = read(Path(root), source, COUNTS if source == "tff" else None)
        writers = 0 if found.groups_train is None else len(np.unique(found.groups_train))
        checked = "the published numbers" if source == "tff" else "no published numbers"
        lines.append(f"{Path(root, 'femnist', source)}  {len(found.y_train):,} + "
                     f"{len(found.y_test):,} samples of {writers:,} writers  {checked}")
    return lines


def _leaf(root: Path, part: str) -> _Part:
    """Return x, y and the writer's name of each sample, from all of LEAF's files of a part."""
    folder = root / "femnist" / "leaf" / part
    found = []
    for path in _there(sorted(folder.glob("*.json")), folder / "*.json"):
        try:
            users = json.loads(path.read_text())["user_data"]
            found += [_of_writer(path, n, held["x"], held["y"]) for n, held in users.items()]
        except FAULTS as error:
            raise DataError(f"{path}: is not as LEAF writes it ({error!r})") from None
    return _joined(folder, found)


def _tff(root: Path, part: str) -> _Part:
    """Return x, y and the writer's name of each sample, from TFF's file of a part."""
    path = root / "femnist" / "tff" / f"fed_emnist_{part}.h5"
    _there([path] if path.is_file() else [], path)
    found = []
    try:
        with h5py.File(path) as file:
            for name, held in file["examples"].items():
                found.append(_of_writer(path, name, held["pixels"][:], held["label"][:]))
    except FAULTS as error:
        raise DataError(f"{path}: is not as TFF publishes it ({error!r})") from None
    return _joined(path, found)


def _of_writer(path: Path, name: str, pixels: ArrayLike, labels: ArrayLike) -> _Part:
    """Return x, y and names of one writer's samples; raise DataError unless each has a label."""
    x, y = _images(path, pixels), np.asarray(labels)
    if y.shape != (len(x),) or (y.size and y.dtype.kind not in "iu"):
        raise DataError(
            f"{path}: writer {name!r} has {len(x)} images, and labels {y.dtype}{list(y.shape)}; "
            "each image needs one whole number"
        )
    return x, y.astype(np.int64), [name] * len(y)


def _joined(place: Path, found: Sequence[_Part]) -> _Part:
    """Return the samples of all writers as one part, one writer after another."""
    if not found:
        raise DataError(f"{place}: holds no writers")
    xs, ys, names = zip(*found, strict=True)
    return np.concatenate(xs), np.concatenate(ys), [name for of in names for name in of]


def _images(path: Path, pixels: ArrayLike) -> Octets:
    """Return uint8[n, 1, 28, 28] from n times 784 floats from 0 to 1."""
    images = np.asarray(pixels, np.float32)
    if images.size % 784 or not (images.min(initial=0) >= 0 and images.max(initial=0) <= 1):
        raise DataError(f"{path}: pixels must be 784 numbers from 0 to 1 for each image")
    return np.rint(images * 255).astype(np.uint8).reshape(-1, 1, 28, 28)


def _there(paths: Sequence[Path], wanted: Path) -> Sequence[Path]:
    if not paths:
        raise MissingDataError(f"femnist: no file {wanted}; {_HOW}")
    return paths
