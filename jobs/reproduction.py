"""The tables of docs/reproduction.md, from the result files of jobs/papers.sh.

    python jobs/reproduction.py OUT [STUDY ...]

Prints a table in Markdown for each folder of OUT. Needs fedmpi.open and numpy, nothing else.
A method's accuracy is the mean of its last five evaluations; mean and standard deviation are
over seeds, and differences are taken seed by seed from the FedAvg of the same seed.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

import fedmpi

LAST = 5  # evaluations that an accuracy is the mean of
HEAD = ("method", "seeds", "accuracy %", "against FedAvg", "own labels %",
        "bytes saved up", "down", "both", "training FLOPs", "density")  # fmt: skip
# Published, arXiv:2303.06360: thousand parameters down and up for each client and round.
FEDLP = {"fedavg": 1102.93, "homo-0.1": 606.61, "homo-0.3": 716.91, "homo-0.5": 827.20,
         "homo-0.7": 937.49, "hetero-1": 169.60, "hetero-3": 225.28, "hetero-u": 318.66,
         "hetero-5": 710.80}  # fmt: skip


def numbers(run):
    """Return a dict of the table's values for one Run."""
    accuracy, local = run.rounds.test_accuracy, run.rounds.local_accuracy
    seen = ~np.isnan(accuracy)
    return {
        "accuracy": 100 * accuracy[seen][-LAST:].mean(),
        "local": 100 * local[seen][-LAST:].mean(),
        "up": run.rounds.bytes_up.sum(),
        "down": run.rounds.bytes_down.sum(),
        "flops": run.rounds.flops.sum(),
        "density": run.rounds.model_density[-1],
    }


def load(folder):
    """Return name -> seed -> numbers of the finished runs in `folder`."""
    found = defaultdict(dict)
    for path in sorted(folder.glob("*_seed=*.h5")):
        name, seed = re.fullmatch(r"(.+)_seed=(\d+)", path.stem).groups()
        with fedmpi.open(path) as run:
            if run.status == "finished":
                found[name][int(seed)] = numbers(run)
    return found


def spread(values):
    """Return the mean and the standard deviation of `values` as text."""
    sd = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{sd}"


def row(name, runs, dense):
    """Return the cells of one method; `dense` holds the FedAvg runs by seed."""
    pairs = [(runs[seed], dense[seed]) for seed in sorted(runs) if seed in dense]
    gaps = [run["accuracy"] - whole["accuracy"] for run, whole in pairs]

    def part(*keys):
        sums = [[sum(run[key] for key in keys) for run in pair] for pair in pairs]
        return np.mean([one / whole for one, whole in sums]) if sums else np.nan

    seeds = runs.values()
    shares = [f"{100 * (1 - part(*keys)):.1f} %" for keys in (("up",), ("down",), ("up", "down"))]
    return (
        name, str(len(runs)), spread([run["accuracy"] for run in seeds]),
        f"{np.mean(gaps):+.2f}" + (f" ± {np.std(gaps, ddof=1):.2f}" if len(gaps) > 1 else "")
        if gaps else "-",
        f"{np.mean([run['local'] for run in seeds]):.2f}", *shares, f"{part('flops'):.3f}",
        f"{np.mean([run['density'] for run in seeds]):.3f}",
    )  # fmt: skip


def table(folder):
    """Yield the lines of the table of one study."""
    found = load(folder)
    dense = found.get("fedavg", {})
    yield f"\n### {folder.name}\n"
    yield "| " + " | ".join(HEAD) + " |"
    yield "|" + " --- |" * len(HEAD)
    for name in sorted(found, key=lambda name: (name != "fedavg", name)):
        yield "| " + " | ".join(row(name, found[name], dense)) + " |"


def traffic(folder):
    """Yield the lines of FedLP's communication column, published and measured."""
    from fedmpi.analysis import views

    yield "\n### traffic\n"
    yield "| scheme | published | measured | standard error | client-rounds |"
    yield "|" + " --- |" * 5
    for path in sorted(folder.glob("*_seed=1.h5")):
        name = path.stem.partition("_")[0]
        with fedmpi.open(path) as run:
            if run.status != "finished":
                continue
            sent = views.traffic(run)
            share = sent.learned / sent.sizes
            each = ((sent.down + sent.up) * share).sum(axis=1) / sent.clients / 1000
            error = each.std(ddof=1) / np.sqrt(len(each))
            cells = (name, f"{FEDLP[name]:.2f}", f"{views.fedlp(sent) / 1000:.2f}",
                     f"{error:.2f}", str(sent.clients.sum()))  # fmt: skip
            yield "| " + " | ".join(cells) + " |"


def skeletons(folder):
    """Yield the lines of the table of networks that were trimmed: units before and after."""
    yield "\n### skeletons\n"
    yield "| problem | seeds | hidden units | left | inputs left | patterns right % |"
    yield "|" + " --- |" * 6
    found = defaultdict(list)
    for path in sorted(folder.glob("*_seed=*.h5")):
        with fedmpi.open(path) as run:
            if run.status == "finished":
                weights = run.model()
                first, last = weights["fc1.weight"], weights["fc2.weight"]
                left = [int((array != 0).any(axis=0).sum()) for array in (last, first)]
                right = 100 * run.rounds.test_accuracy[-1]
                found[path.stem.partition("_")[0]].append((last.shape[1], *left, right))
    for name, runs in found.items():
        hidden, units, inputs, right = zip(*runs, strict=True)
        each = [", ".join(map(str, values)) for values in (units, inputs)]
        cells = (name, str(len(runs)), str(hidden[0]), *each, f"{np.mean(right):.0f}")
        yield "| " + " | ".join(cells) + " |"


KINDS = {"traffic": traffic, "skeletons": skeletons}  # other folders: methods beside FedAvg


def main(words):
    """Print the tables of the studies named, or of all studies in OUT."""
    if not words:
        sys.exit(__doc__)
    out = Path(words[0])
    folders = [out / word for word in words[1:]] or sorted(p for p in out.iterdir() if p.is_dir())
    for folder in folders:
        print("\n".join(KINDS.get(folder.name, table)(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
