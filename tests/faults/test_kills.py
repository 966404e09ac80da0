"""Runs that are killed many times, at any point, and end as an undisturbed run does."""

import os
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import psutil
import pytest

from tests.cli.test_run import contents, equal
from tests.conftest import FORK, ROOT, SOON
from tests.faults.dying import POINTS, prepare
from tests.faults.job import Job, rounds_of, run_here, write_config

KILLS = int(os.environ.get("FEDMPI_KILLS", "5"))
SEED = os.environ.get("FEDMPI_SEED", "1")
WITHIN = 5.0  # seconds in which no process of a killed job is left
DYING = (ROOT / "tests/faults/dying.py",)


def words_of(folder, out):
    """Return the words that start the run, or go on with it."""
    if out.exists():
        return ["resume", "--allow-code", out]
    return ["run", folder / "exp.toml", "-o", out]


def kill(job, whom, pick):
    """Send SIGKILL to one rank, to all ranks, or to their launcher."""
    ranks, alive = job.ranks(), job.alive()
    starters = [process for process in alive if process not in ranks]
    victims = {
        "rank": ranks and [pick.choice(ranks)],
        "ranks": ranks,
        "launcher": starters[:1],
        "proxy": starters[1:],  # MPICH's launcher has a process between itself and the ranks
    }[whom]
    for process in victims or alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def strike_from_outside(folder, out, pick):
    """Start or go on with the run, and kill some of it at a random moment; return the seconds."""
    before, ranks = rounds_of(out), pick.choice([2, 2, 3])
    with Job(folder, *words_of(folder, out), "--quiet", ranks=ranks) as job:
        if pick.random() < 0.25:  # during the start
            time.sleep(pick.uniform(0, 2.5))
        else:
            job.wait_for(lambda: rounds_of(out) > before)
            time.sleep(pick.uniform(0, 0.3))
        kill(job, pick.choice(["rank", "rank", "ranks", "launcher", "proxy"]), pick)
        return job.seconds_to_end(WITHIN)


def strike_from_inside(folder, out, pick):
    """Start or go on with the run on two ranks, so that one dies while it writes."""
    point, call = aim(pick)
    with Job(folder, point, call, *words_of(folder, out), "--quiet", ranks=2, program=DYING) as job:
        job.process.wait(SOON)
        return job.seconds_to_end(WITHIN)


def strike_one_rank(folder, out, pick):
    """Start or go on with the run on one rank; it dies while it writes, or at a random moment.

    It is forked from a process that has everything loaded, so that no time goes into starting.
    """
    point, call = aim(pick) if pick.random() < 0.6 else (None, 0)
    process = FORK.Process(target=alone, args=(out, folder.parent.name, point, call))
    process.start()
    if point is None:
        process.join(pick.expovariate(2.0))
        process.kill()
    process.join(SOON)
    assert process.exitcode in (0, -signal.SIGKILL)


def alone(out, algorithm, point, call):
    """Start or go on with a run in this process, which dies at `point` if one is given."""
    if point:
        prepare(point, call)
    run_here(out, algorithm, resume=out.exists())


def aim(pick):
    """Return a point of `dying`, and how often it is passed before the end."""
    point, call = pick.choice(POINTS), pick.randint(1, 12)
    return point, 20 * call if point == "rows" else call


STRIKES = [strike_one_rank, strike_from_outside, strike_from_inside]
# How many of each a run suffers: mostly cheap ones in CI, mostly at several ranks in a soak.
COUNTS = (3, 1, 1) if KILLS <= 20 else (3, 5, 2)
CHAIN = sum(COUNTS)


def check_so_far(out, whole):
    """Assert that the file opens and holds the first rounds of the undisturbed run."""
    if out.exists():
        _, tables = contents(out)
        for name, values in tables.items():
            np.testing.assert_array_equal(values, whole[1][name][: len(values)], err_msg=name)


def chain(folder, algorithm, whole):
    """Kill a run CHAIN times, then let it end; return the seconds that each job took to die.

    None stands for a run on one rank, which has nobody to wait for.
    """
    pick, out = random.Random(f"{SEED}{folder.name}"), folder / "out.h5"
    write_config(folder, algorithm=algorithm)
    seconds = []
    for strike in pick.sample(STRIKES, CHAIN, counts=COUNTS):
        seconds.append(strike(folder, out, pick))
        check_so_far(out, whole)
    words = words_of(folder, out)
    with Job(folder, *words, "--quiet", ranks=pick.choice([1, 2, 3])) as job:
        assert job.end() == 0, job.text()
    equal(contents(out), whole)
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["exp.toml", "log", "out.h5", "out.h5.checkpoint",
                    "out.h5.checkpoint.previous"]
    return seconds


@pytest.mark.timeout(60 + 30 * KILLS)
def test_killed_again_and_again(tmp_path, record_property):
    chains = -(-KILLS // CHAIN)
    whole = {}
    for method in ("Remembers", "Plain")[:chains]:
        run_here(tmp_path / f"{method}.h5", method)
        whole[method] = contents(tmp_path / f"{method}.h5")
    methods = [("Remembers", "Plain")[number % 2] for number in range(chains)]
    wholes = [whole[method] for method in methods]
    folders = [tmp_path / method / str(number) for number, method in enumerate(methods)]
    for folder in folders:
        folder.mkdir(parents=True)
    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(chain, folders, methods, wholes))
    kills = [seconds for each in done for seconds in each]
    jobs = [seconds for seconds in kills if seconds is not None]
    assert len(kills) >= KILLS and max(jobs) < WITHIN
    record_property("slowest end", max(jobs))
    sys.stdout.write(f"{len(kills)} kills, {len(jobs)} of jobs with several ranks: these were gone "
                     f"after {np.median(jobs):.2f} s (median), {max(jobs):.2f} s at most\n")
