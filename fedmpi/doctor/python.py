"""Check the Python interpreter and the libraries that it finds."""

from collections.abc import Mapping
from shlex import quote

from fedmpi.doctor import OK, WRONG, Finding

OLDEST = (3, 11)
NEEDED = ("numpy", "numba", "torch", "h5py", "mpi4py", "pydantic", "rich")


def python(version: tuple[int, ...], executable: str) -> Finding:
    """Check the `version` of the interpreter `executable`, a tuple such as (3, 11, 7)."""
    text = f"{'.'.join(map(str, version))}, {executable}"
    if version[:2] < OLDEST:
        return Finding(WRONG, "python", text, "make PYTHON=/path/to/python3.11 (or newer)")
    return Finding(OK, "python", text)


def libraries(found: Mapping[str, str | None], executable: str) -> Finding:
    """Check the libraries that this interpreter finds: {name: version, or None if missing}."""
    missing = [name for name in NEEDED if not found.get(name)]
    if missing:
        return Finding(
            WRONG, "libraries", f"{', '.join(missing)} not found by {executable}",
            "start fedmpi by the Python that has them (source .venv/bin/activate), or "
            f"{quote(executable)} -m pip install -c constraints.txt {' '.join(missing)}",
        )
    return Finding(OK, "libraries", ", ".join(f"{name} {found[name]}" for name in NEEDED))
