"""Flux: flux batch, flux jobs, and the lines "# flux:" of a script.

Checked against a recording of the commands, not on a real Flux.
"""

import re
from contextlib import suppress
from pathlib import Path

from fedmpi.errors import ConfigError, FedmpiError
from fedmpi.scheduler.command import Environ, answer, answer_on_job, handed_in
from fedmpi.scheduler.options import Options, check_extra, refuse, seconds

EXTRA = "--flux"
GONE = "unknown"  # what flux jobs says about a job that Flux has forgotten
MARKS = re.compile(r"FLUX_(?!URI$)|PMI_|PMIX_|OMPI_COMM_WORLD_|PRTE_")
_WORD = re.compile(r"--([a-z][a-z0-9-]*)(?:=[!#-&(-\[\]-~]+)?")
_OURS = ("output", "error", "wrap", "dry-run", "env", "help")
_UNKNOWN = ("qos", "gres", "mem", "hint", "reservation", "exclude", "gpus_per_node", "mail_user",
            "mail_type", "mpi")


def directives(
    options: Options, log: Path | None, tasks: int | None = None, parallel: int | None = None
) -> list[str]:
    """Return the lines of the script that request resources from Flux; see slurm.directives."""
    refuse(options, _UNKNOWN, "Flux", EXTRA)
    if parallel:
        raise ConfigError("--parallel: Flux has no arrays, so it holds no task back; leave it out")
    wanted = [options.constraint, options.nodelist and f"host:{options.nodelist}"]
    pairs = {
        "job-name": options.name, "nodes": options.nodes, "nslots": options.ranks,
        "cores-per-slot": options.cpus_per_task, "gpus-per-slot": options.gpus_per_task,
        "time-limit": f"{seconds(options.time)}s", "queue": options.partition,
        "bank": options.account, "requires": " and ".join(filter(None, wanted)),
    }
    lines = [f"--{name}={_quoted(value)}" for name, value in pairs.items() if value]
    lines += ["--exclusive"] if options.exclusive else []
    ours = [*(name for name, value in pairs.items() if value), *_OURS]
    lines += [word for _, word in check_extra(EXTRA, options.extra, _WORD, ours)]
    if log:
        lines.append(f'--output="{log}{"" if tasks is None else "-{{id}}"}.flux-log"')
    return [f"# flux: {line}" for line in lines]


def _quoted(value: object) -> str:
    return f'"{value}"' if " " in str(value) else str(value)


def submit(script: Path, environ: Environ, tasks: int | None = None) -> list[str]:
    """Submit a script once for each task, and return the ids of the jobs; see slurm.submit.

    If a task is refused, the tasks submitted before it are cancelled. The caller does not receive
    their ids, so repeating the command would otherwise submit them a second time.
    """
    found: list[str] = []
    try:
        for task in range(tasks or 1):
            one = [] if tasks is None else [f"--env=FEDMPI_TASK={task}"]
            text = answer(["flux", "batch", *one, str(script)], environ, MARKS)
            found.append(handed_in("flux batch", script, text, r"(\S+)"))
    except FedmpiError:
        if found:
            with suppress(FedmpiError):
                answer(["flux", "cancel", *found], environ, MARKS)
        raise
    return found


def alive(job: str, environ: Environ) -> set[str]:
    """Return {"-"} if `job` is queued or running; see slurm.alive."""
    return {"-"} if state(job, "-", environ) else set()


def state(job: str, task: str, environ: Environ) -> str:
    """Return the word for the state of a job, "" for a job that has ended; see slurm.state."""
    words = ["flux", "jobs", "--no-header", "--format={state}", job]
    word = answer_on_job(words, environ, GONE).strip()
    return "" if word == "INACTIVE" else word


def most_tasks(environ: Environ) -> int | None:
    """Return None, no limit: each task is a job."""
    return None


def launch(options: Options, wheel: str | None) -> list[str]:
    """Return the words that start the ranks; see slurm.launch."""
    return ["flux", "run", "--nodes=$nodes", "--ntasks=$total", "--cores-per-task=$cpus"]
