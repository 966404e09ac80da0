"""Folders of image files: the user's own, and CINIC-10.

A folder holds a folder for each part, which holds a folder for each class: FOLDER/train/cat/1.png.
Classes are numbered in the order of their names. Hidden files and folders (.DS_Store,
.ipynb_checkpoints) and __MACOSX are ignored.

CINIC-10: L. N. Darlow, E. J. Crowley, A. Antoniou, A. J. Storkey, "CINIC-10 Is Not ImageNet or
CIFAR-10", arXiv:1810.03505; CC BY 4.0: 90,000 colour images of 32x32 in ten classes for each of
train, valid and test.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from fedmpi.arrays import Integers, Octets
from fedmpi.errors import DataError, MissingDataError
from fedmpi.learn.data.dataset import Dataset

ENDS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm")
CINIC = 9_000  # images of each class in each part


def cinic10(
    root: Path | None, options: Mapping[str, Any], cache: Path | None = None
) -> Dataset:
    """Return CINIC-10 from `root`/cinic-10; option valid: train on the validation part too."""
    folder, parts = Path(root or ".", "cinic-10"), ["train", "valid"][: 1 + options["valid"]]
    names = _classes(folder / "train")
    for part in (folder / part for part in (*parts, "test")):
        if _classes(part) != names:
            raise DataError(f"{part}: has the classes {', '.join(_classes(part)) or 'none'}, and "
                            f"train has {', '.join(names)}; unpack CINIC-10.tar.gz there again")
    halves = (read(folder / part, names) for part in parts)
    x, y = (np.concatenate(of) for of in zip(*halves, strict=True))
    return Dataset.of("cinic10", "image", (x, y), read(folder / "test", names), classes=10)


def image_folder(
    root: Path | None, options: Mapping[str, Any], cache: Path | None = None
) -> Dataset:
    """Return the images in the parts `train` and `test` of `root`/folder, all of one size."""
    folder = Path(root or ".", options["folder"])
    train, test = (folder / options[part] for part in ("train", "test"))
    classes = _classes(train)
    if not set(_classes(test)) <= set(classes):
        more = sorted(set(_classes(test)) - set(classes))
        raise DataError(f"{test}: class {more[0]!r} is not in {train}")
    empty = [label for label in classes if not _images_of(train / label)]
    if empty and len(empty) < len(classes):
        raise DataError(f"{train / empty[0]}: no images, which end in {', '.join(ENDS)}; put the "
                        "images of the class here, not into folders below, or remove the folder")
    mode = "L" if options["grey"] else "RGB"
    here, there = (read(part, classes, mode) for part in (train, test))
    return Dataset.of("image-folder", "image", here, there, max(len(classes), 2))


def verify(root: Path) -> list[str]:
    """Return a line of text for each part of CINIC-10, after counting its images."""
    lines = []
    for part in ("train", "valid", "test"):
        folder = Path(root, "cinic-10", part)
        counts = [len(_images_of(folder / label)) for label in _classes(folder)]
        if counts != [CINIC] * 10:
            raise DataError(f"cinic10: {folder} has {counts} images by class, not the published "
                            f"{CINIC:,} of each of ten; unpack CINIC-10.tar.gz there again")
        lines.append(f"{folder}  {sum(counts):,} images  the published numbers")
    return lines


def read(
    folder: Path, classes: Sequence[str] | None = None, mode: str = "RGB"
) -> tuple[Octets, Integers]:
    """Return x uint8[N, C, H, W] and y int64[N] of the images of a part, sorted by name."""
    classes = _classes(folder) if classes is None else classes
    found = [(path, n) for n, label in enumerate(classes) for path in _images_of(folder / label)]
    if not found:
        raise DataError(f"{folder}: no images; they end in {', '.join(ENDS)}")
    with ThreadPoolExecutor() as threads:  # unpacking releases the interpreter lock
        images = list(threads.map(lambda one: _pixels(one[0], mode), found))
    return stacked(images, [path for path, _ in found]), np.array([n for _, n in found])


def stacked(images: Sequence[Octets], names: Sequence[object]) -> Octets:
    """Return images uint8[H, W, C] as uint8[N, C, H, W]; raise DataError if sizes differ."""
    odd = [n for n, image in enumerate(images) if image.shape != images[0].shape]
    if odd:
        raise DataError(
            f"{names[odd[0]]}: has {_size(images[odd[0]])} pixels, {names[0]} has "
            f"{_size(images[0])}; all images must have the same size; resize them beforehand"
        )
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))


def decoded(source: Path | IO[bytes], mode: str, name: object) -> Octets:
    """Return uint8[H, W, C] of an image file, a path or a stream; raise DataError if unreadable."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError(f"{name}: images need Pillow: pip install 'fedmpi[data]'") from None
    try:
        with Image.open(source) as image:
            depth, pixels = image.mode, np.asarray(image.convert(mode))
    except Exception as error:  # a damaged file makes Pillow raise all kinds of exceptions
        raise DataError(f"{name}: is not a readable image ({error})") from None
    if depth.startswith(("I", "F")):  # Pillow would clip their values at 255
        raise DataError(f"{name}: its pixels have more than 8 bits (Pillow's mode {depth}); bring "
                        "all images to 8 bits beforehand, with one scale")
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _pixels(path: Path, mode: str) -> Octets:
    return decoded(path, mode, path)


def _size(image: Octets) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _classes(folder: Path) -> list[str]:
    """Return the names of the classes of a part, sorted."""
    if not folder.is_dir():
        raise MissingDataError(f"no folder {folder.absolute()}; put it there by hand, or set "
                               "FEDMPI_DATA or [data] root to where it is")
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and _seen(path))


def _images_of(folder: Path) -> list[Path]:
    """Return the image files of a class, sorted."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in ENDS and _seen(path)
    )


def _seen(path: Path) -> bool:
    """Return False for files and folders that programs leave beside the user's own."""
    return not path.name.startswith(".") and path.name != "__MACOSX"
