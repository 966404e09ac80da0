"""Result files with odd values, as the verbs that read them show them."""

import io
import json
import re
from contextlib import redirect_stderr, redirect_stdout

import h5py
import numpy as np

from fedmpi import cli
from tests.fuzz.mutate import damaged
from tests.record import sample


def shown(folder):
    """Result files with odd values, or damaged ones, as the verbs that read them show them.

    No control character reaches the terminal, JSON is JSON, and no text becomes part of a page.
    """
    whole = sample.write(folder / "good.h5").read_bytes()
    names: list[str] = []
    with h5py.File(folder / "good.h5") as file:
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "dtype") else None)
    path, page = folder / "bad.h5", folder / "page.html"
    verbs = (
        ["info"], ["info", "--json"], ["table"], ["table", "--clients", "--format=json"],
        ["compare", "--views"], ["compare", "--json"], ["report", "-o", page],
        ["watch", "--every=0.01"], ["upgrade"],
    )

    def case(random):
        path.write_bytes(damaged(random, whole) if random.random() < 0.2 else whole)
        if path.read_bytes() == whole:
            with h5py.File(path, "r+") as file:
                for _ in range(random.randint(1, 3)):
                    odd_value(random, file, random.choice(names))
        words = [str(word) for word in random.choice(verbs)]
        args = cli.parse(cli._parser(), [*words, str(path)])
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            args.verb(args)
        check(words, out.getvalue(), err.getvalue())
        if page.exists():
            text = page.read_text()
            if text.count("<script") != 1 or "\x1b" in text:
                raise RuntimeError("a text that became part of the page")
            page.unlink()

    return case


def check(words, out, err):
    """Raise RuntimeError, or json's error, if the output of a verb is not fit to be shown."""
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out + err):
        raise RuntimeError(f"a control character in {out[:200]!r}, {err[:200]!r}")
    if {"--json", "--format=json"} & set(words):
        json.loads(out, parse_constant=int)  # NaN and Infinity are no JSON


def odd_value(random, file, name):
    """Give one value of a dataset, or one attribute of the root, an odd value."""
    if random.random() < 0.15:
        key = random.choice(list(file.attrs))
        old = file.attrs[key]
        odd = random.choice([b"", b"1.1", b"running", b"failed", b"stopped", b"\x1b[2J", b"9" * 30])
        odd_number = random.choice([0, 1, -1, 7, 2**62])
        file.attrs[key] = odd_number if isinstance(old, np.integer) else np.bytes_(odd)
        return
    dataset = file[name]
    kind, size = dataset.dtype.kind, dataset.dtype.itemsize
    if kind == "f":
        odd = random.choice([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e308, 5e-324])
        odd = 0.0 if dataset.dtype == "<f4" else odd
    elif kind in "iu":
        limits = np.iinfo(dataset.dtype)
        odd = random.choice([0, 1, limits.min, limits.max, 255])
    else:
        odd = random.choice([b"", b"\xff", b"<script>", b"\x1b]0;", b"{}", b"[1]", b"null"])[:size]
    if dataset.ndim == 0:
        dataset[()] = odd
    elif dataset.size and random.random() < 0.5:
        dataset[random.randrange(len(dataset))] = odd
    elif dataset.size:
        dataset[...] = odd
