"""The text of job scripts: the scheduler's lines, the values of the run, and the shared job.sh."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from fedmpi.scheduler import SCHEDULERS
from fedmpi.scheduler.options import Options, seconds
from fedmpi.scheduler.snapshot import Snapshot, log_of

HEAD = """\
# {what}
#   {how}
"""
KINDS = {
    "run": ("Run an experiment, or continue it where the last job stopped.",
            "CONFIG OUT.h5 [a.b=v ...]"),
    "gpu": ("Run an experiment with a GPU for each rank, or continue it where it stopped.",
            "CONFIG OUT.h5 [a.b=v ...]"),
    "sweep": ("Run the points of a sweep, each as a task of an array, or continue them.\n"
              "#   fedmpi sweep SWEEP.toml -o DIR --dry-run       shows the points",
              "CONFIG DIR/points.tsv"),
}
HOW = {
    "slurm": "sbatch [--nodes=N ...] {array}jobs/{kind}.sbatch {words}",
    "pbs": "qsub -v CONFIG=exp.toml,OUT=out.h5 jobs/{kind}.pbs",
    "flux": "flux batch [--nodes=N --nslots=N] jobs/{kind}.flux {words}",
}
ARGUMENTS = """\
arguments=("$@")
config=${1:?CONFIG is missing; see the head of this script}
out=${2:?OUT.h5 is missing; see the head of this script}
overrides=("${@:3}")
points=""
"""
SWEEP_ARGUMENTS = """\
arguments=("$@")
config=${1:?CONFIG is missing; see the head of this script}
points=${2:?points.tsv is missing; see the head of this script}
out="" overrides=()
"""
PBS_ARGUMENTS = """\
arguments=()
config=${CONFIG:?is missing; see the head of this script}
out=${OUT:?is missing; see the head of this script}
overrides=() points=""
carried=",CONFIG=$CONFIG,OUT=$OUT" script=jobs/run.pbs
"""


class Script:
    """The script of one kind of job, for a scheduler and its Options.

    `launch` holds the words that start the ranks, which may contain $nodes, $total, $ranks and
    $cpus; `command` the words that start fedmpi; `site` is a shell file to source, or None;
    `prepare` are lines of shell that prepare the site.
    """

    def __init__(
        self, scheduler: str, options: Options, command: Sequence[str], launch: Sequence[str], *,
        site: Path | None = None, prepare: Iterable[str] = (),
    ) -> None:
        self.scheduler, self.options = scheduler, options
        self.command, self.launch, self.site = command, launch, site
        self.prepare = prepare

    def one(
        self, kept: Snapshot, out: Path, overrides: Iterable[str], changes: Iterable[str] = (),
        digests: str = "",
    ) -> str:
        """Return the script of one experiment with its files in the Snapshot `kept`."""
        values = {"config": kept.config, "out": out, "overrides": [*map(str, overrides)],
                  "changes": [*map(str, changes)], "points": "", "lines": [], "pack": 0,
                  "digests": digests, "record": kept.record}
        path = kept.script(self.scheduler)
        return self._text(path, log_of(out).with_suffix(""), values)

    def sweep(
        self, kept: Snapshot, path: Path, points: Path, lines: Sequence[int], pack: bool,
        parallel: int | None = None, digests: str = "",
    ) -> str:
        """Return the script, to be at `path`, of the points of a sweep: `lines` of table `points`.

        With `pack` each task of the array runs one point on each of its ranks.
        """
        values = {"config": kept.config, "out": "", "overrides": [], "changes": [],
                  "points": points, "lines": [*map(str, lines)], "pack": int(pack),
                  "digests": digests, "record": kept.record}
        log = points.with_name("sweep")
        return self._text(path, log, values, self.tasks(lines, pack), parallel)

    def tasks(self, lines: Sequence[int], pack: bool) -> int:
        """Return how many tasks an array needs for the points `lines`."""
        return -(-len(lines) // (self.options.ranks if pack else 1))

    def generic(self, kind: str) -> str:
        """Return the script jobs/KIND, which takes the experiment from its command line."""
        what, words = KINDS[kind]
        array = "--array=1-POINTS " if kind == "sweep" else ""
        how = HOW[self.scheduler].format(kind=kind, words=words, array=array)
        arguments = PBS_ARGUMENTS if self.scheduler == "pbs" else (
            SWEEP_ARGUMENTS if kind == "sweep" else ARGUMENTS)
        lines = [arguments.rstrip(), "fedmpi=(python -P -m fedmpi)"]
        lines.append('changes=() lines=() pack=0 digests="" record=""')
        lines.append("site=${SLURM_SUBMIT_DIR:-${PBS_O_WORKDIR:-$PWD}}/jobs/env.sh")
        lines += ['overrides+=("run.device=cuda")'] if kind == "gpu" else []
        lines += ["script=$0"] if self.scheduler == "flux" else []
        lines += ['log=${out%.h5}'] if self.scheduler != "slurm" else []
        text = "\n".join([*lines, *self._numbers()])
        head = HEAD.format(what=what, how=how)
        head += "#SBATCH --array=1-2\n" if kind == "sweep" else ""
        return self._whole(text, None, None, None, head)

    def _numbers(self) -> list[str]:
        options = self.options
        lines = [f"scheduler={self.scheduler} most_restarts={options.restarts}"]
        if self.scheduler != "slurm":
            lines.append(f"warn_after={seconds(options.time) - options.notice}")
        if self.scheduler == "flux":
            lines.append(f"ranks={options.tasks_per_node} cpus={options.cpus_per_task}")
        return lines

    def _text(
        self, path: Path, log: Path, values: Mapping[str, Any], tasks: int | None = None,
        parallel: int | None = None,
    ) -> str:
        """Return the script, to be at `path`, with all values quoted for the shell."""
        values = {
            **values, "fedmpi": list(self.command), "site": str(self.site or ""), "arguments": [],
        }
        if self.scheduler != "slurm":
            values |= {"log": log, "script": path, "carried": ""}
        lines = [f"{name}={_quoted(value)}" for name, value in values.items()]
        return self._whole("\n".join([*lines, *self._numbers()]), log, tasks, parallel)

    def _whole(
        self, text: str, log: Path | None, tasks: int | None, parallel: int | None, head: str = ""
    ) -> str:
        module = SCHEDULERS[self.scheduler]
        lines = "\n".join(module.directives(self.options, log, tasks, parallel))
        launch = " ".join(shell_word(word) for word in self.launch)
        prepare = "\n".join(["prepare_site() {", *(f"    {line}" for line in self.prepare), "    :",
                             "}"])
        part, body = (files("fedmpi.scheduler").joinpath(name).read_text("utf-8")
                      for name in (f"{self.scheduler}.sh", "job.sh"))
        return (f"#!/bin/bash\n{head}{lines}\nset -euo pipefail\n\n{text}\n\n{part}\n"
                f"launch=({launch})\n{prepare}\n\n{body}")


def shell_word(word: str) -> str:
    """Return a word quoted for the shell, which still expands $NAME in it."""
    return f'"{word}"' if "$" in word else shlex.quote(word)


def _quoted(value: object) -> str:
    if isinstance(value, list):
        return "(" + " ".join(shlex.quote(word) for word in value) + ")"
    return shlex.quote(str(value))
