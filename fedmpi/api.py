"""fedmpi from Python: read results, run experiments, write methods of one's own.

    import fedmpi

    run = fedmpi.open("out.h5")            # numpy and h5py are enough
    run.rounds.test_accuracy, run.time_to(0.80)
    fedmpi.run("exp.toml", out="new.h5")   # the same as the command

    class Mine(fedmpi.Algorithm, name="mine"): ...
"""

import os
import sys
from pathlib import Path
from tempfile import gettempdir

from fedmpi.errors import ConfigError, ResultError


def open(path):
    """Open a result file and return its Run. Raises ResultError."""
    from fedmpi.record import reader

    if not isinstance(path, str | os.PathLike):
        raise ResultError(f"{path!r}: is no path; give that of a result file")

    return reader.open(path)


def run(config, out, overwrite=False):
    """Run an experiment to its end, and return its Run, read from the result file.

    Parameters
    ----------
    config : path or dict
        A TOML file, or sections as a dict of dicts.
    out : path
        Result file to write.
    overwrite : bool
        Replace `out` if it exists.

    Under mpiexec or srun all ranks call it. Raises FedmpiError.
    """
    from fedmpi.comm.start import ending_together, start
    from fedmpi.experiment import resolve
    from fedmpi.experiment.execute import Start, execute
    from fedmpi.experiment.stop import Never

    if not isinstance(config, dict | str | os.PathLike):
        raise ConfigError(f"config = {config!r}: give the path of a TOML file, or a dict of dicts")
    if not isinstance(out, str | os.PathLike):
        raise ConfigError(f"out = {out!r}: give the path of the result file to write")
    comm = start(os.environ)
    resolved = resolve.of_tree(config) if isinstance(config, dict) else resolve.read(config)
    how = Start(
        out=Path(out),
        overwrite=overwrite,
        data_root=data_root(os.environ, resolved.config.data.root),
        cache=cache_folder(os.environ),
        environ=dict(os.environ),
        command=tuple(sys.argv),
    )
    with ending_together(comm):
        execute(resolved, comm, how, lambda row, rounds: None, Never())
    comm.close()
    return open(out)


def data_root(environ, named=None):
    """Return the folder of the data sets: `named`, else FEDMPI_DATA, else one in the cache."""
    named = named or environ.get("FEDMPI_DATA")
    return Path(named).expanduser() if named else cache_folder(environ) / "data"


def cache_folder(environ):
    """Return fedmpi's folder in the user's cache."""
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an entry in passwd, as in some containers
        home = Path(gettempdir()) / f"fedmpi-{os.getuid()}"
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "fedmpi"
