"""fetch and verify, with a pooch that reaches no further than a local folder."""

import hashlib
import io
import shutil
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedmpi.errors import ConfigError, DataError
from fedmpi.learn.data import fetch, files


@pytest.fixture
def mirror(monkeypatch):
    """Serve url -> Path through a stand-in for pooch; returns the dict to be filled."""
    served = {}

    def retrieve(url, known_hash, fname, path):
        if url not in served:
            raise ConnectionError("no route to host")
        content = Path(served[url]).read_bytes()
        if hashlib.sha256(content).hexdigest() != known_hash.removeprefix("sha256:"):
            raise ValueError("hash of downloaded file does not match")
        Path(path).mkdir(parents=True, exist_ok=True)
        Path(path, fname).write_bytes(content)

    monkeypatch.setitem(sys.modules, "pooch", SimpleNamespace(retrieve=retrieve))
    return served


@pytest.mark.parametrize("name", ["fashion-mnist", "mnist-writers", "shakespeare"])
def test_every_known_file_has_an_address(name):
    for path in files.FILES[name]:
        url = fetch.url_of(path)
        assert url.startswith("http") and path.endswith(url.rsplit("/", 1)[1])


def test_fetch_gets_what_is_missing_and_verifies(mirror, data_root, tmp_path):
    for path in files.FASHION_MNIST:
        mirror[fetch.url_of(path)] = data_root / path
    kept = tmp_path / "fashion-mnist/train-images-idx3-ubyte.gz"
    kept.parent.mkdir()
    shutil.copyfile(data_root / "fashion-mnist" / kept.name, kept)
    del mirror[fetch.url_of(f"fashion-mnist/{kept.name}")]
    rows = fetch.fetch("fashion-mnist", tmp_path)
    assert len(rows) == 4 and all(row.endswith("sha256 ok") for row in rows)
    assert fetch.verify("fashion-mnist", tmp_path) == rows


def test_fetch_takes_cifar_out_of_its_archive(mirror, monkeypatch, tmp_path):
    contents = {path: path.encode() for path in files.CIFAR10}
    sums = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    monkeypatch.setitem(files.FILES, "cifar10", sums)
    archive = tmp_path / "archive"
    with tarfile.open(archive, "w:gz") as tar:
        for path, content in contents.items():
            member = tarfile.TarInfo(path.removeprefix("cifar-10/"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    url, digest = fetch.ARCHIVES["cifar10"][0], hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(fetch.ARCHIVES, "cifar10", (url, digest))
    mirror[url] = archive
    assert len(fetch.fetch("cifar10", tmp_path / "root")) == 6
    left = sorted(p.name for p in (tmp_path / "root").rglob("*") if p.is_file())
    assert left == [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


def test_offline_and_without_pooch_there_is_a_clear_error(mirror, monkeypatch, tmp_path):
    with pytest.raises(DataError, match=r"cannot fetch http.*no route to host\ndoes this machine"):
        fetch.fetch("mnist", tmp_path)
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataError, match=r"needs pooch: pip install 'fedmpi\[data\]'"):
        fetch.fetch("mnist", tmp_path)


def test_verify_names_what_is_missing_and_what_is_no_file_set(tmp_path):
    with pytest.raises(DataError, match="no file mnist/t10k-images"):
        fetch.verify("mnist", tmp_path)
    with pytest.raises(ConfigError, match="did you mean mnist"):
        fetch.verify("mnits", tmp_path)
    with pytest.raises(ConfigError, match="did you mean femnist"):
        fetch.verify("femnits", tmp_path)
    with pytest.raises(ConfigError, match="'digits': is unknown, or has no published files"):
        fetch.verify("digits", tmp_path)
