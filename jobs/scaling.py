"""How a run gets faster with more ranks: strong scaling, or weak with as many clients a rank.

    python jobs/scaling.py CONFIG -o DIR --ranks 1 2 4 8 [--weak] [--launch "srun --mpi=pmi2"]

Prints one line for each number of ranks. Run it inside a job that has all of them.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

import fedmpi

FIRST = 2  # rounds that are left out: kernels are compiled, and the collective is chosen


def seconds(words, config, out, overrides):
    """Run an experiment and return the median seconds of a round, and the clients in it."""
    sets = [word for override in overrides for word in ("--set", override)]
    run = [*words, sys.executable, "-m", "fedmpi", "run", config, "-o", out, "--quiet", *sets]
    subprocess.run([*map(str, run), "--overwrite"], check=True)
    result = fedmpi.open(out)
    clients = np.median(np.asarray(result.rounds["clients_selected"])[FIRST:])
    return float(np.median(np.diff(result.rounds["wall_time"])[FIRST - 1 :])), float(clients)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--weak", action="store_true",
                        help="clients.per_round grows with the ranks")
    parser.add_argument("--per-rank", type=int, default=8, help="clients of a rank with --weak (8)")
    parser.add_argument("--launch", default="mpiexec", help="launcher of the ranks; -n N is added")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    print("ranks\tround_s\tclients_per_s\tspeedup\tefficiency")
    first = None
    for ranks in args.ranks:
        more = [f"clients.per_round={ranks * args.per_rank}"] if args.weak else []
        words = [*shlex.split(args.launch), "-n", ranks]
        took, clients = seconds(words, args.config, args.out / f"{ranks}.h5", more)
        rate = clients / took
        first = first or (ranks, rate)
        speedup = rate / first[1]
        print(f"{ranks}\t{took:.4f}\t{rate:.1f}\t{speedup:.2f}\t{speedup * first[0] / ranks:.2f}",
              flush=True)


if __name__ == "__main__":
    main()
