"""The text of job scripts: Slurm's options, what to run, and job.sh, which all of them share."""

import shlex
from importlib.resources import files

HEAD = {
    "run": """\
# Run an experiment, or go on with it where the last job stopped.
#   sbatch [--nodes=N ...] jobs/run.sbatch CONFIG OUT.h5 [a.b=v ...]
""",
    "gpu": """\
# Run an experiment with a GPU for each rank, or go on with it where the last job stopped.
#   sbatch [--nodes=N ...] jobs/gpu.sbatch CONFIG OUT.h5 [a.b=v ...]
""",
    "sweep": """\
# Run the points of a sweep, each as a task of an array, or go on with them.
#   fedmpi sweep SWEEP.toml -o DIR --dry-run       writes DIR/points.tsv, one line a point
#   sbatch --array=1-POINTS [--nodes=N ...] jobs/sweep.sbatch CONFIG DIR/points.tsv
""",
}
ARGUMENTS = """\
config=${1:?CONFIG is missing; see the head of this script}
out=${2:?OUT.h5 is missing; see the head of this script}
overrides=("${@:3}")
"""
SWEEP_ARGUMENTS = """\
config=${1:?CONFIG is missing; see the head of this script}
points=${2:?points.tsv is missing; see the head of this script}
"""
# A table with one line a point: file, then a value for each key, or - where a key is not set.
POINT = """\
IFS=$'\\t' read -r -a keys <"$points"
IFS=$'\\t' read -r -a cells < <(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$points") || true
file=${cells[0]:?no point $SLURM_ARRAY_TASK_ID in $points}
out=$(dirname "$points")/${file##*/}
overrides=()
for i in "${!keys[@]}"; do
    ((i == 0)) || [[ ${cells[i]} == - ]] || overrides+=("${keys[i]}=${cells[i]}")
done
"""
SITE = """\
fedmpi=(python -P -m fedmpi) # -P: modules of the folder do not come first
launch=(srun --kill-on-bad-exit=0 --wait=4) # jobs/env.sh may name another
site=$SLURM_SUBMIT_DIR/jobs/env.sh
"""


def submitted(options, command, config, out, overrides, site=None):
    """Return the script of one experiment; all paths absolute, `command` the words of fedmpi."""
    values = {"config": config, "out": out, "overrides": [str(word) for word in overrides]}
    return _script(options, out.with_suffix(".log"), _fixed(options, command, values, site))


def swept(options, command, config, points, array, site=None):
    """Return the script of a sweep: `points` is its table, `array` Slurm's list of line numbers."""
    text = _fixed(options, command, {"config": config, "points": points}, site) + POINT
    return _script(options, points.with_name("point-%a.log"), text, array)


def generic(kind, options):
    """Return the script jobs/KIND.sbatch, which takes what to run from its command line."""
    text = (SWEEP_ARGUMENTS + POINT) if kind == "sweep" else ARGUMENTS
    text += f"{SITE}most_restarts={options.restarts}\n"
    array = "1-2" if kind == "sweep" else None
    if kind == "gpu":
        text += 'overrides+=("run.device=cuda")\n'
    return _script(options, None, text, array, HEAD[kind])


def _fixed(options, command, values, site):
    """Lines of shell that hold all values as they are, quoted."""
    launch = ["srun", *([f"--mpi={options.mpi}"] if options.mpi else [])]
    values = values | {
        "fedmpi": list(command),
        # Ranks that leave with 75 must not be killed for it; one that died ends the others.
        "launch": [*launch, "--kill-on-bad-exit=0", "--wait=4"],
        "site": str(site or ""),
        "most_restarts": str(options.restarts),
    }
    return "".join(f"{name}={_quoted(value)}\n" for name, value in values.items())


def _quoted(value):
    if isinstance(value, list):
        return "(" + " ".join(shlex.quote(word) for word in value) + ")"
    return shlex.quote(str(value))


def _script(options, log, text, array=None, head=""):
    lines = [f"#SBATCH --{name}={value}" for name, value in _directives(options) if value]
    if array:
        lines.append(f"#SBATCH --array={array}")
    if log:
        # Slurm reads %j and the like in the name; those of the folder mean themselves.
        folder = str(log.parent).replace("%", "%%")
        lines.append(f'#SBATCH --output="{folder}/{_log_name(log, array)}"')
    lines += ["#SBATCH --open-mode=append", "#SBATCH --requeue"]
    body = files("fedmpi.slurm").joinpath("job.sh").read_text()
    directives = "\n".join(lines)
    return f"#!/bin/bash\n{head}{directives}\nset -euo pipefail\n\n{text}\n{body}"


def _log_name(log, array):
    return log.name if array else log.name.replace("%", "%%")


def _directives(options):
    """Names and values of Slurm's options; those without a value are left out."""
    yield "job-name", options.name
    yield "nodes", options.nodes
    yield "ntasks-per-node", options.tasks_per_node
    yield "cpus-per-task", options.cpus_per_task
    yield "gpus-per-task", options.gpus_per_task
    yield "time", options.time
    yield "mem", options.mem
    yield "partition", options.partition
    yield "account", options.account
    yield "qos", options.qos
    yield "signal", f"B:USR1@{options.told}"
