"""fedmpi from Python: read results, run experiments, write your own methods.

    import fedmpi

    run = fedmpi.open("out.h5")            # numpy and h5py are enough
    run.rounds.test_accuracy, run.time_to(0.80)
    fedmpi.run("exp.toml", out="new.h5")   # the same as the command
    fedmpi.resume("new.h5", ["run.rounds=50"])
    fedmpi.open_many("a.h5", "b.h5").spread()  # mean and deviation over seeds

    class Mine(fedmpi.Algorithm, name="mine"): ...
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from glob import glob, has_magic
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any, TypeAlias

from fedmpi.errors import ConfigError, ResultError

if TYPE_CHECKING:  # not loaded here, so that `import fedmpi` stays quick
    from fedmpi.analysis.collection import Runs
    from fedmpi.arrays import AnyArray
    from fedmpi.record.reader import Run

Progress: TypeAlias = Callable[[dict[str, Any], int], None]
"""Called after each round with the columns of /rounds and the total number of rounds."""


def open(path: str | os.PathLike[str]) -> "Run":
    """Open a result file and return its Run, a `fedmpi.record.reader.Run`. Raises ResultError."""
    from fedmpi.record import reader

    if not isinstance(path, str | os.PathLike):
        raise ResultError(f"{path!r}: not a path; give the path of a result file")
    return reader.open(path)


def open_many(*paths: str | os.PathLike[str]) -> "Runs":
    """Open result files by names or patterns such as ``results/*.h5``; return their Runs.

    The Runs are in the order of the arguments; the files of a pattern are sorted by name. Raises
    ResultError if a pattern matches no file, and in the cases in which `open` does.
    """
    from fedmpi.analysis.collection import Runs

    found: list[Run] = []
    if wrong := [path for path in paths if not isinstance(path, str | os.PathLike)]:
        raise ResultError(
            f"{wrong[0]!r}: not a path; give each path or pattern as an argument of its own, "
            "as in open_many(*paths)"
        )
    for path in map(str, paths):
        pattern = has_magic(path) and not os.path.exists(path)  # a name may hold brackets
        names = sorted(glob(path)) if pattern else [path]
        if not names:
            raise ResultError(f"{path}: no such file; the pattern fits no result file")
        found += map(open, names)
    return Runs(found)


def state(out: str | os.PathLike[str], client: int | None = None) -> "dict[str, AnyArray]":
    """Return the arrays of a method's state by name, as the last checkpoint beside `out` has them.

    If `client` is given, they are what this client remembers, without the memories of stages; {} if
    it remembers nothing. A run that has finished keeps its checkpoint. Raises ResultError.
    """
    from fedmpi.record import checkpoint
    from fedmpi.record.checkpoint_parts import by_part
    from fedmpi.round.memories import unpack
    from fedmpi.stages import without_stages

    saved, _ = checkpoint.newest(out)
    if saved is None:
        raise ResultError(f"{checkpoint.path_of(out)}: no such file; a run writes it as it goes on")
    if client is None:
        return by_part(checkpoint.read(saved.path))["algorithm"]
    return dict(without_stages(unpack(saved.client(client)))) if client in saved.clients else {}


def run(
    config: str | os.PathLike[str] | dict[str, Any],
    out: str | os.PathLike[str],
    overwrite: bool = False,
    progress: Progress | None = None,
) -> "Run":
    """Run an experiment to its end, and return its Run, read from the result file.

    Under mpiexec or srun, all ranks must call it. The caller's environment and signal handlers do
    not change. Kernels are therefore compiled into NUMBA_CACHE_DIR, or beside their source, not
    into the node's folder that the command uses. Raises FedmpiError, also if a queued job will
    write `out`.

    Parameters
    ----------
    config : path or dict
        A TOML file, or the sections as a dict of dicts. A class or a function may be given in
        place of its name: {"algorithm": {"name": Mine}}.
    out : path
        Result file to write.
    overwrite : bool
        Replace `out` if it exists.
    progress : callable, optional
        Called on rank 0 after each round with a dict of its columns, as in `run.rounds`, and
        the total number of rounds. If it raises StopIteration, the run stops there, with
        everything saved, and its status is "stopped". Any other exception ends it as failed.
    """
    from fedmpi.experiment import resolve

    if not isinstance(config, dict | str | os.PathLike):
        raise ConfigError(f"config = {config!r}: give the path of a TOML file, or a dict of dicts")
    if not isinstance(out, str | os.PathLike):
        raise ConfigError(f"out = {out!r}: give the path of the result file to write")

    def make() -> Any:
        """Resolve the configuration, once MPI has been started."""
        return resolve.of_tree(config) if isinstance(config, dict) else resolve.read(config)

    return _execute(make, out, progress, overwrite=overwrite)


def resume(
    out: str | os.PathLike[str],
    changes: Sequence[str] = (),
    progress: Progress | None = None,
    allow_code: bool = False,
    force: bool = False,
    rebuild: bool = False,
) -> "Run":
    """Continue the run of a result file from its checkpoint; return its Run at the end.

    `changes` are texts such as "run.rounds=50", as after ``--set``; `progress` is as for `run`. A
    finished run is returned as it is unless `changes` are given. `allow_code` allows importing the
    modules of users' code that the file names. `force` continues even if data or code have changed.
    `rebuild` restores a damaged or missing result file from its checkpoint. Raises FedmpiError.
    """
    from fedmpi.experiment.rebuild import earlier

    if not isinstance(out, str | os.PathLike):
        raise ResultError(f"out = {out!r}: give the path of the result file to continue")
    _check_changes(changes)
    begun = earlier(out, rebuild)
    if begun.finished and not changes:
        return open(out)
    return _execute(lambda: begun.resolved(str(out), changes, allow_code), out, progress,
                    resume=True, changed=tuple(changes), force=force, rebuild=begun.rebuild)


def check_method(
    method: type | str, config: str | os.PathLike[str] | None = None, changes: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Test whether a method obeys the rules for methods; return [(tested rule, fault or "")].

    `method` is a class or a name. `config` is the TOML file of an experiment to test it in, by
    default a small one. `changes` are texts such as "algorithm.p=0.3". Raises ConfigError.
    """
    from fedmpi.experiment import contract

    _check_changes(changes)
    place = None if config is None else str(config)
    return list(contract.faults(method, place, changes, partial(data_root, os.environ)))


def _check_changes(changes: Sequence[str]) -> None:
    """Raise ConfigError unless `changes` is a list of texts, which a single text is not."""
    if not isinstance(changes, list | tuple) or any(type(text) is not str for text in changes):
        raise ConfigError(
            f'changes = {changes!r}: give a list of texts such as ["run.rounds=50"]'
        )


def _check_progress(progress: Progress | None) -> None:
    """Raise ConfigError unless `progress` can be called, or is None."""
    if progress is not None and not callable(progress):
        raise ConfigError(f"progress = {progress!r}: give a function of a round's columns and the "
                          "number of rounds, or None")


def _execute(
    make: Callable[[], Any],
    out: str | os.PathLike[str],
    progress: Progress | None,
    **how: Any,
) -> "Run":
    """Start the ranks, run the experiment that `make` returns, and return the Run."""
    _check_progress(progress)
    from fedmpi.comm.alike import alike
    from fedmpi.comm.start import ending_together, start
    from fedmpi.experiment.portable import hold_to_level
    from fedmpi.experiment.stop import NoSignals
    from fedmpi.scheduler.snapshot import check_no_job_waits

    comm = start(os.environ)
    with ending_together(comm), alike(comm):
        if comm.rank == 0:
            check_no_job_waits(Path(out), os.environ)
    resolved = make()
    if resolved.config.run.portable:
        hold_to_level(os.environ)
    from fedmpi.experiment.execute import Start, execute  # loads libraries, so after hold_to_level

    begin = Start(
        out=Path(out),
        data_root=data_root(os.environ, resolved.config.data.root),
        cache=cache_folder(os.environ),
        environ=dict(os.environ),
        command=tuple(sys.argv),
        **how,
    )
    stop = NoSignals()
    with ending_together(comm):
        execute(resolved, comm, begin, partial(_show, progress, stop), stop)
    comm.close()
    return open(out)


def _show(progress: Progress | None, stop: Any, row: Any, rounds: int) -> None:
    """Pass a copy of a round's columns to the caller, who may keep it, or ask the run to stop."""
    try:
        if progress is not None:
            progress(dict(row.columns), rounds)
    except StopIteration:
        stop.asked = "progress"


def data_root(environ: Mapping[str, str], named: str | None = None) -> Path:
    """Return the folder of the data sets: `named`, else $FEDMPI_DATA, else one in the cache.

    Raises ConfigError if the name begins with ~ and that user has no home folder.
    """
    named = named or environ.get("FEDMPI_DATA")
    try:
        return Path(named).expanduser() if named else cache_folder(environ) / "data"
    except RuntimeError:
        raise ConfigError(f"{named}: no home folder is known for the ~ at its start; give the "
                          "whole path of the data") from None


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return fedmpi's folder in the user's cache folder."""
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an entry in passwd, as in some containers
        home = temporary_folder() / f"fedmpi-{os.getuid()}"
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "fedmpi"


def temporary_folder() -> Path:
    """Return the system's temporary folder, or /tmp if all of them are full or read-only."""
    try:
        return Path(gettempdir())
    except FileNotFoundError:
        return Path("/tmp")
