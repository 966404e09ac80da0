"""The site file: TOML with the settings that are the same for all jobs of a cluster."""

import re
import shlex
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fedmpi.config import parse
from fedmpi.errors import ConfigError
from fedmpi.scheduler.command import Environ
from fedmpi.scheduler.script import shell_word
from fedmpi.section import Positive, Section, check
from fedmpi.text_file import text_of

Word = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_./:=,@+${}-]+$")]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Defaults(Section):
    """[job]: defaults of the options of submit and sweep, with the same names and values."""

    nodes: Positive | None = None
    tasks_per_node: Positive | None = None
    cpus_per_task: Positive | None = None
    gpus_per_task: Positive | None = None
    gpus_per_node: Positive | None = None
    gres: str | None = None
    time: str | None = None
    mem: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    nodelist: str | None = None
    exclude: str | None = None
    hint: str | None = None
    exclusive: bool | None = None
    mail_user: str | None = None
    mail_type: str | None = None
    mpi: str | None = None
    restarts: Annotated[int, Field(ge=0)] | None = None
    lead: Positive | None = None
    extra: tuple[str, ...] = ()


class Site(Section):
    """The settings of a cluster: scheduler, modules, environment, launcher and scratch folder."""

    scheduler: Literal["slurm", "pbs", "flux"] = "slurm"
    purge: bool = False  # `module purge` first
    modules: tuple[Word, ...] = ()
    activate: Word | None = None  # a Python environment, by its folder
    environment: dict[str, str] = Field(default_factory=dict)
    source: Word | None = None  # a shell file, for all else
    launch: tuple[Word, ...] = ()
    scratch: Word | None = None  # a folder on the node's own disk
    most_tasks: Positive | None = None  # of an array, if the cluster allows fewer than it reports
    job: Defaults = Defaults()

    def lines(self) -> list[str]:
        """Return the lines of shell that prepare the site."""
        lines = ["module purge"] * self.purge
        lines += [f"module load {' '.join(map(shlex.quote, self.modules))}"] if self.modules else []
        lines += [f"export {name}={shell_word(value)}" for name, value in self.environment.items()]
        lines += [f"source {shell_word(self.activate)}/bin/activate"] if self.activate else []
        lines += [f"source {shell_word(self.source)}"] if self.source else []
        lines += [f"scratch={shell_word(self.scratch)}"] if self.scratch else []
        return lines


def read(path: Path) -> Site:
    """Return the Site of the TOML file at `path`. Raises ConfigError."""
    tree = parse(text_of(path, "TOML (FEDMPI_SITE names it)"), str(path))
    if isinstance(job := tree.get("job"), dict):  # written as on the command line
        tree["job"] = {key.replace("-", "_"): value for key, value in job.items()}
    site = check(Site, tree, str(path))
    for name, value in site.environment.items():
        if not _VARIABLE.fullmatch(name) or re.search(r"[\x00-\x1f\x7f\"`\\]|\$\(", value):
            raise ConfigError(f"{path}: environment.{name} = {value!r}: must be a variable's name, "
                              "and text without quotes, backquotes, backslashes and $(")
    return site


def path_of(environ: Environ) -> Path | None:
    """Return the path of the site file, FEDMPI_SITE or the user's site.toml, or None."""
    if named := environ.get("FEDMPI_SITE"):
        return Path(named)
    folder = environ.get("XDG_CONFIG_HOME") or (
        environ.get("HOME") and str(Path(environ["HOME"]) / ".config"))
    path = Path(folder) / "fedmpi/site.toml" if folder else None
    return path if path and path.is_file() else None
