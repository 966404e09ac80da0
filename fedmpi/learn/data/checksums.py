"""Find the files of a known data set and compare them with their sha256.

So that files need not be hashed at every start, each verified file is noted in
`verified.json` of a cache folder, with its size and modification time. Nothing is
ever written to the data root itself.
"""

import gzip
import hashlib
import json
import lzma
import os
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedmpi.errors import DataError, MissingDataError
from fedmpi.learn.data import files

LARGEST = 4 << 30  # bytes that are hashed of an unpacked file; no known file is larger
_CHUNK = 1 << 20


def locate(name: str, root: Path | None, path: str) -> Path:
    """Return the Path of one file of data set `name`; a .gz file may be unpacked.

    A batch of CIFAR-10 may be packed as `.xz`, which its reader alone unpacks. Searches the data
    set's own folder below `root`, and the folder in which torchvision puts the file. Raises
    DataError if it is not found; the message says how to get it.
    """
    if root is None:
        raise MissingDataError(f"{name}: no data root; set FEDMPI_DATA or [data] root")
    folder, _, file = path.rpartition("/")
    packed = [f"{file}.xz"] if path in files.CIFAR10 else []
    for place in (Path(root, folder), Path(root, files.TORCHVISION.get(folder, folder))):
        for form in (file, *packed, file.removesuffix(".gz")):
            if (place / form).is_file():
                return place / form
    raise MissingDataError(
        f"{name}: no file {path} in {root}\n"
        f"run `fedmpi data fetch {name}`, or set FEDMPI_DATA or [data] root to where it is"
    )


def verify(
    name: str, root: Path | None, known: Mapping[str, str], cache: Path | None = None
) -> dict[str, Path]:
    """Return the Paths of the files `known`, after checking that each has the right sha256.

    Parameters
    ----------
    name : str
        The data set, for messages.
    root : Path
        The data root.
    known : dict
        Relative path -> sha256, which is of the unpacked content for a file stored as .xz. If
        only an MD5 is published, the value is "md5:" and the MD5.
    cache : Path, optional
        Folder of the notes; with None, files are hashed every time.

    Raises
    ------
    DataError
        If a file is missing or has the wrong sha256; the message names the file and both sums.
        A .gz file that was packed again is accepted if its content is right.
    """
    notes = _read_notes(cache)
    paths = {path: locate(name, root, path) for path in known}
    wanted = {path: _wanted(path, found, known) for path, found in paths.items()}
    stamps = {path: _stamp(found, wanted[path]) for path, found in paths.items()}
    unknown = [path for path in known if notes.get(str(paths[path].resolve())) != stamps[path]]
    with ThreadPoolExecutor() as threads:  # hashing and unpacking release the interpreter lock
        sums = threads.map(lambda path: digest(paths[path], wanted[path]), unknown)
        for path, found in zip(unknown, sums):
            if found != wanted[path] and not _packed_again(paths[path], files.UNPACKED.get(path)):
                raise _altered(name, paths[path], found, wanted[path])
    if unknown and cache is not None:
        _write_notes(cache, {str(paths[path].resolve()): stamps[path] for path in unknown})
    return paths


def _wanted(path: str, found: Path, known: Mapping[str, str]) -> str:
    """Return the sha256 that the file `found` must have, of the content if it is unpacked."""
    unpacked = path.endswith(".gz") and found.suffix != ".gz"
    return files.UNPACKED[path] if unpacked and path in files.UNPACKED else known[path]


def _stamp(path: Path, wanted: str) -> list[int | str]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, wanted]


def digest(path: Path, like: str) -> str:
    """Return the digest of a file's content, an MD5 if `like` is one, else a sha256."""
    return f"md5:{_hex(path, 'md5')}" if like.startswith("md5:") else sha256(path)


def sha256(path: Path) -> str:
    """Return the sha256 of a file's content as hex; a .xz file is unpacked first."""
    return _hex(path, "sha256")


def _packed_again(path: Path, content: str | None) -> bool:
    """Return True if a .gz file's content has the sha256 `content`; False if that is None."""
    if content is None or path.suffix != ".gz":
        return False
    with suppress(DataError, zlib.error):
        return _hex(path, "sha256", gzip.open) == content
    return False


def _hex(path: Path, kind: str, opened: Callable[..., Any] = open) -> str:
    digest = hashlib.new(kind, usedforsecurity=kind != "md5")
    try:
        with (lzma.open if path.suffix == ".xz" else opened)(path, "rb") as stream:
            while (chunk := stream.read(_CHUNK)) and stream.tell() <= LARGEST:
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; cannot read it") from None
    except (lzma.LZMAError, EOFError) as error:
        raise DataError(f"{path}: broken xz file ({error}); fetch it again") from None
    return digest.hexdigest()


def _altered(name: str, path: Path, found: str, wanted: str) -> DataError:
    kind = "" if wanted.startswith("md5:") else "sha256 is "
    return DataError(
        f"{name}: {path} is truncated or altered: {kind}{found}, must be {wanted}\n"
        f"remove it and run `fedmpi data fetch {name}`"
    )


def _read_notes(cache: Path | None) -> dict[str, Any]:
    try:
        notes = json.loads(Path(cache, "verified.json").read_text()) if cache else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _write_notes(cache: Path, news: dict[str, list[int | str]]) -> None:
    """Add notes; if the cache cannot be written, the next start only takes longer."""
    path = Path(cache, "verified.json")
    part = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(_read_notes(cache) | news, indent=1))
        part.replace(path)
