"""The resources that a job requests. All values are checked, since they go into a shell script."""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from fedmpi.errors import ConfigError

LEAD = 120  # seconds before the time limit at which a run is told to stop
LONGEST_LEAD = 65535  # the limit of Slurm
COUNTS = ("nodes", "tasks_per_node", "cpus_per_task", "gpus_per_task", "gpus_per_node")
NAMES = ("name", "partition", "account", "qos", "reservation", "hint", "mpi")
# Lists and expressions of nodes, features and resources, without characters special to a shell.
WORDS = ("constraint", "gres", "nodelist", "exclude", "mail_user", "mail_type")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,:@+-]{0,99}")
_WORD = re.compile(r"[A-Za-z0-9(\[][A-Za-z0-9_.,:@+*&|()\[\]=/-]{0,999}")
_TIME = re.compile(r"(?:(\d{1,3})-)?(\d{1,4})(?::(\d{1,2}))?(?::(\d{1,2}))?", re.ASCII)
_MEMORY = re.compile(r"\d{1,9}[KMGT]?", re.ASCII)


@dataclass(frozen=True)
class Options:
    """The resources and names of one job; None leaves a choice to the cluster.

    `time` is hours:minutes:seconds or another of Slurm's forms; `mpi` is Slurm's plug-in, such as
    pmi2; `restarts` is how often the job may start again; `lead` is the time in seconds before the
    time limit at which the job is told to stop, by default 120 or half of a short limit. `extra`
    are further words for the submitting command, in the scheduler's form. Raises ConfigError for
    values that a script cannot hold.
    """

    name: str = "fedmpi"
    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int = 1
    gpus_per_task: int | None = None
    gpus_per_node: int | None = None
    gres: str | None = None
    time: str = "04:00:00"
    mem: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    nodelist: str | None = None
    exclude: str | None = None
    hint: str | None = None
    exclusive: bool = False
    mail_user: str | None = None
    mail_type: str | None = None
    mpi: str | None = None
    restarts: int = 50
    lead: int | None = None
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in NAMES:
            check_name(option(name), getattr(self, name))
        for name in WORDS:
            _check_word(option(name), getattr(self, name))
        for name in COUNTS:
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 100_000:
                raise ConfigError(f"{option(name)} {value}: must be 1 to 100000")
        if not 0 <= self.restarts <= 10_000:
            raise ConfigError(f"--restarts {self.restarts}: must be 0 to 10000")
        if self.mem is not None and not _MEMORY.fullmatch(self.mem):
            raise ConfigError(f"--mem {self.mem!r}: must be a number and K, M, G or T, such as 16G")
        limit = min(seconds(self.time) - 1, LONGEST_LEAD)
        if self.lead is not None and not 1 <= self.lead <= limit:
            raise ConfigError(f"--lead {self.lead}: must be 1 to {limit} seconds, within the limit")

    @property
    def notice(self) -> int:
        """Seconds before the time limit at which the job gets the signal to stop."""
        return self.lead or min(LEAD, seconds(self.time) // 2)

    @property
    def ranks(self) -> int:
        """The number of MPI ranks, on all nodes together."""
        return self.nodes * self.tasks_per_node


def option(name: str) -> str:
    """Return the option of the command line for a field of Options."""
    return f"--{name.replace('_', '-')}"


def check_name(name: str, value: str | None) -> None:
    """Raise ConfigError unless `value`, of the option `name`, is None or a plain name."""
    if value is not None and not _NAME.fullmatch(value):
        raise ConfigError(
            f"{name} {value!r}: must be letters, digits and _.,:@+- only, at most 100"
        )


def _check_word(name: str, value: str | None) -> None:
    if value is not None and not _WORD.fullmatch(value):
        raise ConfigError(f"{name} {value!r}: must be letters, digits and _.,:@+*&|()[]=/- only")


def refuse(options: Options, names: Iterable[str], scheduler: str, instead: str) -> None:
    """Raise ConfigError if one of the fields `names`, unknown to `scheduler`, is set.

    `instead` is the option that passes words on to the scheduler.
    """
    for name in names:
        if getattr(options, name):
            raise ConfigError(f"{option(name)}: {scheduler} has no such option; "
                              f"pass it as {instead}=...")


def plain(text: str) -> str:
    """Return a job name made from `text`, without characters that check_name refuses."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-._+")[:60] or "fedmpi"


def seconds(time: str) -> int:
    """Return the seconds of one of Slurm's forms: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S."""
    found = _TIME.fullmatch(time)
    if found:
        days, *texts = found.groups()
        parts = [int(part) for part in texts if part is not None]
        units = (3600, 60, 1) if days or len(parts) == 3 else (60, 1)
        total = int(days or 0) * 86400 + sum(p * u for p, u in zip(parts, units, strict=False))
        if total >= 60 and all(part < 60 for part in parts[1:]):
            return total
    raise ConfigError(f"--time {time!r}: must be minutes, M:S, H:M:S or D-H:M:S, "
                      "a minute or more")


def check_path(path: str | PathLike[str]) -> Path:
    """Return `path` as an absolute path. Raises ConfigError if a script cannot hold it."""
    path = Path(path).absolute()
    if re.search(r"[\x00-\x1f\x7f\"'\\]", str(path)):
        raise ConfigError(f"{str(path)!r}: a path in a job script must have no quotes, "
                          "backslashes or control characters; choose another path")
    return path


def check_extra(
    name: str, words: Iterable[str], pattern: re.Pattern[str], ours: Container[str]
) -> list[tuple[str, str]]:
    """Return (key, word) of further words for the submitting command. Raises ConfigError.

    `name` is the option that gave the words, and `pattern` matches the key in a word. `ours` are
    the keys that the script sets, which must not be set a second time.
    """
    found: list[tuple[str, str]] = []
    for word in words:
        match = pattern.fullmatch(word)
        if not match:
            raise ConfigError(f"{name}={word!r}: must be one option in its long form, without "
                              f'quotes, such as {name}="{EXAMPLES[name]}"')
        key = match[1]
        if key in ours or key in dict(found):
            raise ConfigError(f"{name}={word!r}: {key} is set already; leave it "
                              "out, or see fedmpi submit --help for an option that sets it")
        found.append((key, word))
    return found


EXAMPLES = {
    "--sbatch": "--constraint=cpu", "--qsub": "-l filesystems=home:eagle",
    "--flux": "--setattr=user.note=x",
}
