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


def open(path):
    """Open a result file and return its Run. Raises ResultError."""
    from fedmpi.record import reader

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
    from fedmpi.comm.start import start
    from fedmpi.sim import resolve
    from fedmpi.sim.run import Start, execute
    from fedmpi.sim.stop import Never

    comm = start(os.environ)
    resolved = resolve.of_tree(config) if isinstance(config, dict) else resolve.read(config)
    root = resolved.config.data.root or os.environ.get("FEDMPI_DATA")
    how = Start(
        out=Path(out),
        overwrite=overwrite,
        data_root=Path(root) if root else None,
        environ=dict(os.environ),
        command=tuple(sys.argv),
    )
    execute(resolved, comm, how, lambda row, rounds: None, Never())
    return open(out)
