"""The work of `fedmpi data fetch` and `fedmpi data verify`.

Files are downloaded from the places where their authors publish them, with pooch (extra
`data`). A file is put in place only if its sha256 is right.
"""

import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from fedmpi.errors import ConfigError, DataError, nearest
from fedmpi.learn.data import checksums, femnist, files, folders

_CIFAR = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_CIFAR_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9354329d7fe0b5c001ce"
_CIFAR100 = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
_CIFAR100_MD5 = "md5:eb9058c3a382ffc7106e4002c42a8d85"
ARCHIVES = {"cifar10": (_CIFAR, _CIFAR_SHA256), "cifar100": (_CIFAR100, _CIFAR100_MD5)}
_URLS = {  # beginning of a path -> URL to which the rest of the path is appended
    "fashion-mnist/": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "svhn/": "http://ufldl.stanford.edu/housenumbers/",
    "mnist/": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "qmnist-labels/": "https://raw.githubusercontent.com/facebookresearch/qmnist/"
                      "94061367ec2e099ea18c553c75727ecf849ddb9b/",
    "shakespeare/tinyshakespeare/": "https://raw.githubusercontent.com/karpathy/char-rnn/"
                                    "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
                                    "data/tinyshakespeare/",
    "shakespeare/moby-plays/": "https://raw.githubusercontent.com/TheMITTech/shakespeare/"
                               "6b82db852c7322dd33e95db347f0ddfc812c6409/",
}

# Data sets whose files have no published checksums; their samples are counted instead.
COUNTED = {"femnist": femnist.verify, "cinic10": folders.verify}


def verify(name: str, root: Path) -> list[str]:
    """Hash every file of a data set again and return a line of text for each.

    Raises DataError at the first file that is missing, truncated or altered.
    """
    if name in COUNTED:
        return COUNTED[name](root)
    wanted = _files_of(name)
    if name == "svhn":  # the easier images are optional
        easier = [path for path in wanted if "extra" in path and not _present(root, path)]
        wanted = {path: of for path, of in wanted.items() if path not in easier}
    paths = checksums.verify(name, root, wanted)
    kinds = {path: "md5" if of.startswith("md5:") else "sha256" for path, of in wanted.items()}
    return [
        f"{found}  {found.stat().st_size:,} bytes  {kinds[path]} ok"
        for path, found in paths.items()
    ]


def fetch(name: str, root: Path) -> list[str]:
    """Download the files of a data set that are missing below `root`, then verify them all.

    Returns the lines of `verify`. Raises DataError when a download fails, as it does
    without a network, or when pooch is not installed.
    """
    if name in COUNTED:
        raise DataError(f"{name}: is not fetched; the manual says where its files belong")
    missing = [path for path in _files_of(name) if not _present(root, path)]
    if missing:
        retrieve = _pooch_retrieve(name)
        if name in ARCHIVES:
            _unpack(root, missing, retrieve, *ARCHIVES[name])
        for path in missing if name not in ARCHIVES else ():
            _download(retrieve, url_of(path), files.FILES[name][path], Path(root, path))
    return verify(name, root)


def url_of(path: str) -> str:
    """Return the URL of the file with this path below the data root."""
    start = next(start for start in _URLS if path.startswith(start))
    return _URLS[start] + path.removeprefix(start)


def _files_of(name: str) -> Mapping[str, str]:
    if name not in files.FILES:
        known = nearest(name, [*files.FILES, *COUNTED])
        raise ConfigError(f"data set {name!r}: is unknown, or has no published files; {known}")
    return files.FILES[name]


def _present(root: Path, path: str) -> bool:
    try:
        return checksums.locate("", root, path).is_file()
    except DataError:
        return False


def _pooch_retrieve(name: str) -> Callable[..., object]:
    try:
        import pooch
    except ImportError:
        raise DataError(
            f"{name}: fetching needs pooch: pip install 'fedmpi[data]'\n"
            "or copy the files below the data root by hand; the manual lists them"
        ) from None
    return cast(Callable[..., object], pooch.retrieve)


def _download(retrieve: Callable[..., object], url: str, sha256: str, target: Path) -> None:
    """Download to `target`; pooch writes a temporary file and renames it if the hash agrees."""
    try:
        digest = sha256 if ":" in sha256 else f"sha256:{sha256}"
        retrieve(url, digest, fname=target.name, path=target.parent)
    except Exception as error:  # pooch passes on all exceptions of its protocol library
        raise DataError(
            f"cannot fetch {url}: {error}\ndoes this machine have a network connection?"
        ) from error


def _unpack(
    root: Path, missing: Sequence[str], retrieve: Callable[..., object], url: str, digest: str
) -> None:
    """Download a published archive and extract the missing files from it, by their names."""
    archive = Path(root, Path(missing[0]).parts[0], Path(url).name)
    _download(retrieve, url, digest, archive)
    with tarfile.open(archive) as tar:
        for path in map(Path, missing):
            part = Path(root, path).with_suffix(".part")
            part.parent.mkdir(parents=True, exist_ok=True)
            member = tar.extractfile(f"{path.parent.name}/{path.name}")
            if member is None:
                raise DataError(f"{archive}: holds a folder in place of the file {path.name}")
            part.write_bytes(member.read())
            part.replace(Path(root, path))
    archive.unlink()
