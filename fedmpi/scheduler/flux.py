"""Flux: flux batch, flux jobs, and the lines "# flux:" of a script.

Checked against a recording of the commands, not on a real Flux.
"""

import re
from contextlib import suppress

from fedmpi.errors import ConfigError, FedmpiError
from fedmpi.scheduler.command import answer, handed_in
from fedmpi.scheduler.options import check_extra, refuse, seconds

EXTRA = "--flux"
MARKS = re.compile(r"FLUX_(?!URI$)|PMI_|PMIX_|OMPI_COMM_WORLD_|PRTE_")
_WORD = re.compile(r"--([a-z][a-z0-9-]*)(?:=[!#-&(-\[\]-~]+)?")
_OURS = ("output", "error", "wrap", "dry-run", "env", "help")
_UNKNOWN = ("qos", "gres", "mem", "hint", "reservation", "exclude", "gpus_per_node", "mail_user",
            "mail_type", "mpi")


def directives(options, log, tasks=None, parallel=None):
    """Return the lines of the script that tell Flux what the job asks for; see slurm.directives."""
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


def _quoted(value):
    return f'"{value}"' if " " in str(value) else value


def submit(script, environ, tasks=None):
    """Submit a script, once for each task, and return the ids of the jobs; see slurm.submit.

    If a task is refused, the tasks before it are cancelled: the caller never learns their ids, so
    the same command would submit them a second time.
    """
    found = []
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


def alive(job, environ):
    """Return {"-"} if `job` waits or runs; see slurm.alive."""
    return {"-"} if state(job, "-", environ) else set()


def state(job, task, environ):
    """Return the word for the state of a job, "" for a job that has ended; see slurm.state."""
    try:
        word = answer(["flux", "jobs", "--no-header", "--format={state}", job], environ).strip()
    except FedmpiError:
        return ""
    return "" if word == "INACTIVE" else word


def most_tasks(environ):
    """Return None: each task is a job."""


def launch(options, wheel):
    """Return the words that start the ranks; see slurm.launch."""
    return ["flux", "run", "--nodes=$nodes", "--ntasks=$total", "--cores-per-task=$cpus"]
