"""The start and end of every benchmark: caches, threads, ranks, and JSON."""

import json
import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fedmpi.cli.kernel_cache import keep_kernels_on_node
from fedmpi.cli.launchers import crowding
from fedmpi.cli.machine import gpus_of_job, keep_freed_memory, mpiexec, one_thread_each
from fedmpi.cli.submission import own_command
from fedmpi.comm.launch import started
from fedmpi.errors import ConfigError

if TYPE_CHECKING:
    from fedmpi.bench.measure import Found
    from fedmpi.bench.processes import Launch
    from fedmpi.comm.base import Comm

GBIT_S = 10.0  # of the network between emulated nodes


def say(text: str) -> None:
    """Print to the terminal what is being measured."""
    print(f"... {text}", file=sys.stderr, flush=True)


def prepare(threads: int = 1) -> Path:
    """Set caches and threads before libraries are loaded; return the folder of the kernels."""
    folder = keep_kernels_on_node(os.environ)
    one_thread_each(threads)
    gpus_of_job(os.environ)
    keep_freed_memory()
    return folder


def launch_of(folder: Path, ranks: int | None = None) -> "Launch":
    """Return a Launch that starts arms on at most as many ranks as cores, or as `ranks` if more.

    `folder` is the folder of the compiled kernels.
    """
    from fedmpi.bench.processes import Launch

    cores, found = len(os.sched_getaffinity(0)), mpiexec()
    most = max(cores, ranks or 1)
    python, *switches = own_command()[:-2]  # without the words that start fedmpi
    return Launch(
        python=python,
        switches=tuple(switches),
        mpiexec=(found, *crowding(found, most), "-n") if found else (),
        environ=dict(os.environ) | {"NUMBA_CACHE_DIR": str(folder), "FLWR_TELEMETRY_ENABLED": "0"},
        cores=cores,
        most=most,
    )


@contextmanager
def on_nodes(launch: "Launch", count: int | None) -> "Iterator[Launch]":
    """Yield a Launch that starts each of `count` ranks on an emulated node; None: `launch`."""
    from fedmpi.bench.emulated_nodes import EmulatedNodes

    if count is None:
        yield launch
        return
    with EmulatedNodes(count, GBIT_S) as nodes:
        yield replace(launch, nodes=nodes)


def new_file(text: str) -> Path:
    """Return the path of a file to write, checked before a long measurement begins.

    With several ranks, `check_file` checks it once they are joined. Raises ArgumentTypeError.
    """
    path = Path(text)
    if started(os.environ)[0] == 1 and (fault := _fault_of(path)):
        raise ArgumentTypeError(fault)
    return path


def check_file(comm: "Comm", path: Path | None) -> None:
    """Raise ConfigError on all ranks if rank 0 cannot write the file; None for no file."""
    from fedmpi.comm.alike import alike

    with alike(comm):
        if path and comm.rank == 0 and (fault := _fault_of(path)):
            raise ConfigError(f"--json {fault}")


def _fault_of(path: Path) -> str:
    """Return the reason why a file cannot be written, or ""."""
    try:
        if path.is_dir() or not path.absolute().parent.is_dir():
            return f"{path}: name a file in a folder that exists"
        new = not path.exists()
        path.open("a").close()
    except OSError as error:
        return f"{path}: {error.strerror}; name a file that can be written"
    if new:
        path.unlink()
    return ""


def write(path: Path | None, found: "Found | None") -> None:
    """Write a dict as JSON to `path`, if there is one."""
    if path:
        path.write_text(json.dumps(found, indent=1) + "\n")
