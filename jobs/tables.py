"""A table of docs/time.md or docs/stages.md, from the result files of jobs/tables.sh.

    python jobs/tables.py OUT/TABLE

Prints it in Markdown, one line a case, means over the seeds. Time and rounds are to the first round
of a test accuracy of 0.70 and 0.75; where a seed does not reach it, each seed is shown. Needs
fedmpi.open and numpy, nothing else.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

import fedmpi

TARGETS = (0.70, 0.75)
LAST = 5  # rounds that an accuracy is the mean of


def runs_in(folder):
    """Return case -> Runs, one for each seed, in the order of points.tsv or else of the names."""
    table, found = folder / "points.tsv", defaultdict(list)
    lines = table.read_text().splitlines()[1:] if table.exists() else []
    names = [line.split("\t")[0] for line in lines] or sorted(p.name for p in folder.glob("*.h5"))
    for name in names:
        if (folder / name).exists():
            found[re.sub(r"_seed=\d+\.h5$", "", name)].append(fedmpi.open(folder / name))
    return found


def mean(values, form):
    """Return the mean of numbers as text; all of them, with "-" for a missing one, if one is."""
    known = [value for value in values if value is not None]
    if len(known) == len(values):
        return format(np.mean(known), form)
    return ", ".join("-" if value is None else format(value, form) for value in values)


def costs(runs):
    """Return the cells of one case: the cost of the targets, and the share of clients in time."""
    done, asked = (
        sum(run.rounds[name].sum() for run in runs)
        for name in ("clients_completed", "clients_selected")
    )
    times = [mean([run.time_to(target) for run in runs], ".1f") for target in TARGETS]
    rounds = mean([run.rounds_to(TARGETS[-1]) for run in runs], ".0f")
    return (*times, rounds, f"{100 * done / asked:.0f} %")


def traffic(runs):
    """Return the cells of one case: accuracy, its deviation over the seeds, and megabytes up."""
    last = [run.rounds.test_accuracy[-LAST:].mean() for run in runs]
    sent = np.mean([run.rounds.bytes_up.sum() for run in runs]) / 1e6
    return (f"{np.mean(last):.3f}", f"{np.std(last, ddof=1):.3f}", f"{sent:.2f}")


TABLES = {
    "compression": (traffic, ("accuracy", "deviation", "MB up")),
    "policies": (costs, ("to 0.70", "to 0.75", "rounds to 0.75", "in time")),
    "selection": (costs, ("to 0.70", "to 0.75", "rounds to 0.75", "in time")),
}


def main(words):
    """Print the table of a folder."""
    if len(words) != 1 or Path(words[0]).name not in TABLES:
        sys.exit(__doc__)
    cells_of, head = TABLES[Path(words[0]).name]
    print("| " + " | ".join(("case", *head)) + " |")
    print("|" + " --- |" + " ---: |" * len(head))
    for case, runs in runs_in(Path(words[0])).items():
        print("| " + " | ".join((case, *cells_of(runs))) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
