"""What a job asks of Slurm. Every value is checked: it becomes a line of a shell script."""

import re
from dataclasses import dataclass
from pathlib import Path

from fedmpi.errors import ConfigError

LEAD = 120  # seconds before the time limit at which a run is told to stop
LONGEST_LEAD = 65535  # that Slurm takes
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,:@+-]{0,99}")
_TIME = re.compile(r"(?:(\d{1,3})-)?(\d{1,4})(?::(\d{1,2}))?(?::(\d{1,2}))?")
_MEMORY = re.compile(r"\d{1,9}[KMGT]?")


@dataclass(frozen=True)
class Options:
    """The resources and names of one job; None leaves a choice to the cluster.

    time is hours:minutes:seconds or another form of Slurm's; mpi is Slurm's plug-in, such as
    pmi2; restarts is how often the job may start again; lead the seconds before the time limit
    at which it is told to stop, by default 120 or half of a short limit. Raises ConfigError for
    what a script cannot hold.
    """

    name: str = "fedmpi"
    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int = 1
    gpus_per_task: int | None = None
    time: str = "04:00:00"
    mem: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    mpi: str | None = None
    restarts: int = 50
    lead: int | None = None

    def __post_init__(self):
        for name in ("name", "partition", "account", "qos", "mpi"):
            check_name(f"--{name}", getattr(self, name))
        for name in ("nodes", "tasks_per_node", "cpus_per_task", "gpus_per_task"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 100_000:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: must be 1 to 100000")
        if not 0 <= self.restarts <= 10_000:
            raise ConfigError(f"--restarts {self.restarts}: must be 0 to 10000")
        if self.mem is not None and not _MEMORY.fullmatch(self.mem):
            raise ConfigError(f"--mem {self.mem!r}: must be a number and K, M, G or T, such as 16G")
        limit = min(seconds(self.time) - 1, LONGEST_LEAD)
        if self.lead is not None and not 1 <= self.lead <= limit:
            raise ConfigError(f"--lead {self.lead}: must be 1 to {limit} seconds, within the limit")

    @property
    def told(self):
        """Seconds before the time limit at which the job is told to stop."""
        return self.lead or min(LEAD, seconds(self.time) // 2)


def check_name(option, value):
    """Raise ConfigError unless `value` is None or a plain name."""
    if value is not None and not _NAME.fullmatch(value):
        raise ConfigError(
            f"{option} {value!r}: must be letters, digits and _.,:@+- only, at most 100"
        )


def plain(text):
    """Return the name of a job that resembles `text`, without what check_name refuses."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-._+")[:60] or "fedmpi"


def seconds(time):
    """Return the seconds of one of Slurm's forms: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S."""
    found = _TIME.fullmatch(time)
    if found:
        days, *parts = found.groups()
        parts = [int(part) for part in parts if part is not None]
        units = (3600, 60, 1) if days or len(parts) == 3 else (60, 1)
        total = int(days or 0) * 86400 + sum(p * u for p, u in zip(parts, units, strict=False))
        if total >= 60 and all(part < 60 for part in parts[1:]):
            return total
    raise ConfigError(f"--time {time!r}: must be H:M:S (or D-H:M:S), a minute or more")


def check_path(path):
    """Return the absolute form of `path`, or raise ConfigError if a script cannot hold it."""
    path = Path(path).absolute()
    if re.search(r"[\x00-\x1f\x7f\"'\\]", str(path)):
        raise ConfigError(f"{str(path)!r}: Slurm takes no quotes, backslashes or control "
                          "characters in a path; choose another")
    return path
