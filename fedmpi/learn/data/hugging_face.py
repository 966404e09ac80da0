"""Folders that Hugging Face's `datasets` wrote with save_to_disk: Arrow files and their features.

FOLDER/train/state.json names the Arrow streams of a part, and FOLDER/train/dataset_info.json its
features. They are read with pyarrow (extra `hugging-face`), without the library `datasets` itself.
Code that comes with a data set is never read.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedmpi.arrays import Integers, Octets
from fedmpi.errors import DataError
from fedmpi.learn.data.dataset import Dataset
from fedmpi.learn.data.folders import decoded, stacked
from fedmpi.learn.data.own_files import FAULTS


def hugging_face(
    root: Path | None, options: Mapping[str, Any], cache: Path | None = None
) -> Dataset:
    """Return the images of `root`/folder; the options image and label name the columns."""
    folder = Path(root or ".", options["folder"])
    mode = "L" if options["grey"] else "RGB"
    parts = [_part(folder / options[part], options, mode) for part in ("train", "test")]
    classes = max(names or int(y.max(initial=0)) + 1 for _, y, names in parts)
    train, test = ((x, y) for x, y, _ in parts)
    return Dataset.of("hugging-face", "image", train, test, classes=max(classes, 2))


def _part(
    folder: Path, options: Mapping[str, Any], mode: str
) -> tuple[Octets, Integers, int]:
    """Return x, y and the number of class names of one part (0 if there are no names)."""
    state, info = (_json(folder / name) for name in ("state.json", "dataset_info.json"))
    try:
        streams = [folder / Path(file["filename"]).name for file in state["_data_files"]]
        features = info["features"]
        if options["label"] not in features:
            raise DataError(f"{folder}: no column {options['label']!r}, only "
                            f"{', '.join(map(str, features))}; name it in [data] label")
        names = len(features[options["label"]].get("names") or ())
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder}: its JSON lacks {error}; did save_to_disk write it?") from None
    images, labels = [], []
    for path in streams:
        table = _table(path)
        for column in (options["image"], options["label"]):
            if column not in table.column_names:
                found = ", ".join(table.column_names)
                raise DataError(f"{path}: no column {column!r}, only {found}; name them in [data] "
                                "image and label")
        labels.append(_whole(path, options["label"], table))
        for row, cell in enumerate(table[options["image"]].to_pylist()):
            content = (cell or {}).get("bytes") if isinstance(cell, dict) else None
            if content is None:
                raise DataError(f"{path}: the image of row {row} is not in the file; save it with "
                                "its bytes")
            images.append(decoded(io.BytesIO(content), mode, f"{path} row {row}"))
    if not images:
        raise DataError(f"{folder}: no samples")
    names_of = [f"{folder} row {row}" for row in range(len(images))]
    return stacked(images, names_of), np.concatenate(labels), names


def _whole(path: Path, column: str, table: Any) -> Integers:
    """Return a column of whole numbers as int64[n]; raise DataError if values are missing."""
    found = np.asarray(table[column])
    if found.dtype.kind not in "iu":
        raise DataError(
            f"{path}: column {column!r} is of type {table[column].type}, or lacks values; labels "
            "must be whole numbers, one in each row"
        )
    return found.astype(np.int64)


def _table(path: Path) -> Any:  # pyarrow has no types
    try:
        import pyarrow
    except ImportError:
        raise DataError(f"{path}: needs pyarrow: pip install 'fedmpi[hugging-face]'") from None
    try:
        with pyarrow.memory_map(str(path)) as source:
            found = pyarrow.ipc.open_stream(source).read_all()
            found.validate(full=True)
            return found
    except FAULTS as error:  # pyarrow's exceptions are subclasses of these
        raise DataError(f"{path}: is not an Arrow stream ({error})") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        said = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: {said}; is it a folder of `save_to_disk`?") from None
    return found if isinstance(found, dict) else {}
