"""The verb submit: one experiment as the job of a batch system."""

import os
import sys
from argparse import Namespace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from fedmpi.cli import sweeps
from fedmpi.cli.submission import Submission, add_job
from fedmpi.cli.words import Verbs, add_set
from fedmpi.errors import ConfigError, ResultError
from fedmpi.text_file import text_of

if TYPE_CHECKING:
    from fedmpi.experiment.resolve import Resolved
    from fedmpi.scheduler.options import Options
    from fedmpi.scheduler.snapshot import Snapshot


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs of this module, and sweep, to the parser."""
    from fedmpi.cli import verb

    parser = verb(verbs, submit, "run an experiment as a job of Slurm, PBS or Flux",
                  "fedmpi submit exp.toml -o out.h5 --nodes 2 --tasks-per-node 16 --time 1:00:00")
    parser.add_argument("config", type=Path, help="TOML file of the experiment")
    parser.add_argument("-o", "--out", required=True, type=Path, help="result file to write")
    add_set(parser)
    parser.add_argument("--resume", action="store_true", help="continue OUT, which exists")
    parser.add_argument("--allow-code", action="store_true",
                        help="with --resume: import the modules of users' code that OUT names")
    add_job(parser)
    sweeps.add_verbs(verbs)


def submit(args: Namespace) -> None:
    """Check an experiment, keep its configuration and job script beside OUT, and submit it.

    The job runs the configuration as it is now, even if the file changes later. With --resume it
    continues OUT, and --set changes the keys that may change in a resumed run.
    """
    from fedmpi.experiment import device_files, resolve
    from fedmpi.record.writer import check_target
    from fedmpi.scheduler import snapshot
    from fedmpi.scheduler.options import check_path

    if args.allow_code and not args.resume:
        raise ConfigError("--allow-code: goes with --resume, since a new run may import what its "
                          "configuration names; leave it out")
    out = check_path(args.out)
    if out.suffix in (".job", ".log"):
        raise ConfigError(f"{out}: the job's files or log have this name; choose a name that "
                          "ends in .h5")
    kept = snapshot.of(out)
    if kept == snapshot.of_sweep(out.parent):
        raise ConfigError(f"{out}: {kept.folder.name} is the folder of a sweep's jobs; choose "
                          "another name")
    text = text_of(args.config)
    if args.resume:
        resolved = _again(args, out)
    else:
        resolved = resolve.resolve(text, str(args.config), args.overrides)
        if out.exists():
            raise ResultError(f"{out}: exists; continue it with --resume, or choose another name")
        check_target(out)
    _refuse_another(kept, out)
    begun, later = ([], args.overrides) if args.resume else (args.overrides, [])
    files = device_files.by_name(text, args.config, begun)
    digests = snapshot.digests(resolved.values(), files, args.config)
    submission = Submission(args, resolved.config.run.name)
    script = submission.script.one(kept, out, begun, later, digests)
    _warn_of_gpus(submission.options, resolved.config.run.device)
    if args.dry_run:
        print(f"{script}# not submitted; it would be {kept.script(submission.scheduler)}")
        return
    with kept.alone():
        _refuse_another(kept, out)  # another submission may have come first during the checks
        kept.keep(text, files)
        _submit(submission, kept, script, out)


def _refuse_another(kept: "Snapshot", out: Path) -> None:
    """Raise ResultError if a queued or running job will write `out`."""
    if job := kept.alive(os.environ).get("-"):
        raise ResultError(f"{out}: job {job}, which is queued or runs, writes it; "
                          "wait for it, or end it first")


def _warn_of_gpus(options: "Options", device: str) -> None:
    """Warn if a job has GPUs that the run does not use, or has none though the run needs one."""
    plain = bool(options.gpus_per_task or options.gpus_per_node)
    if (plain or "gpu" in (options.gres or "")) and device != "cuda":
        print("fedmpi: warning: the job has GPUs, but clients train on processors; add --set "
              "run.device=cuda", file=sys.stderr)
    if device == "cuda" and not (plain or options.gres or options.extra):
        print("fedmpi: warning: run.device is cuda, but the job has no GPU; add --gpus-per-node "
              "N or --gpus-per-task 1", file=sys.stderr)


def _again(args: Namespace, out: Path) -> "Resolved":
    """Return the Resolved experiment of a result file to resume. Raises FedmpiError."""
    from fedmpi.experiment.rebuild import earlier
    from fedmpi.record.lock import check_free

    begun = earlier(out)
    check_free(out)
    if begun.finished and not args.overrides:
        raise ResultError(f"{out}: all {begun.done} rounds are done; "
                          "for more add --set run.rounds=N")
    return begun.resolved(str(out), args.overrides, args.allow_code)


def _submit(submission: Submission, kept: "Snapshot", script: str, out: Path) -> None:
    from fedmpi.record.atomic import write_text
    from fedmpi.scheduler.snapshot import log_of

    path = kept.script(submission.scheduler)
    write_text(path, script, "surrogateescape")
    jobs = submission.submit(path)
    kept.note(submission.scheduler, jobs, [("-", ())])
    show, end = submission.how_to_follow(jobs)
    print(f"submitted as job {jobs[0]}\n"
          f"  {submission.said()}\n"
          f"  script {path}\n"
          f"  {show}\n"
          f"  tail -F {quote(str(log_of(out)))}\n"
          f"  fedmpi watch {quote(str(out))}      to follow it\n"
          f"  {end}      to end it; submit with --resume continues it")
