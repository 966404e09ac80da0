"""Compare whole rounds on emulated nodes with the prediction that is used for thousands of ranks.

Each rank is in a separate network namespace (emulated_nodes.py). The links are so slow that a round
waits for bytes more than for processors. If ranks share a core, each computes for its share of the
time only, which the prediction includes. The prediction uses the network's nominal rate and the
latency measured between the same ranks; no parameter comes from a round on more than one rank.
"""

from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fedmpi.arrays import Bools, Reals
from fedmpi.bench import contributions
from fedmpi.bench.drawn_supports import Supports
from fedmpi.bench.emulated_nodes import EmulatedNodes
from fedmpi.bench.measure import Found, Say
from fedmpi.bench.processes import Launch
from fedmpi.bench.replay import ModelledNetwork
from fedmpi.bench.sum_messages import fastest
from fedmpi.bench.whole_rounds import Case, assembled, bar, middle, one_rank, predicted
from fedmpi.errors import FedmpiError
from fedmpi.round.fixed import Experiment
from fedmpi.round.synchronous import Synchronous

GBIT_S = 0.02  # of each link
RANKS = (1, 2, 4, 8, 16, 32)
MEMORY = 500e6  # bytes that a rank may take
# SCAFFOLD's clients remember, and half take part in a round: memories move, and sums are longest.
CASE = Case("lenet5", 128, 1600, 4, 64, "scaffold", "shared")
QUICK = replace(CASE, clients=16, images=200, rounds=3, per_round=8)
WATCHED = 2  # rounds until clients remember


def run(launch: Launch, quick: bool, say: Say) -> Found:
    """Return a dict for JSON: "gbit_s", "case", "rows" and, for the caller, a list of Bars "bars".

    "rows" holds for each number of ranks the seconds of a round, "predicted" and "taken" (medians
    over the rounds after the first), and their "ratio". Without permission to create namespaces
    there are no rows, and the bars give the reason.
    """
    case, counts = (QUICK, RANKS[:2]) if quick else (CASE, RANKS)
    rows: list[Found] = []
    why: dict[int, str] = {}
    fitting = [ranks for ranks in counts if ranks * MEMORY < free_memory()]
    try:
        if not launch.mpiexec or not fitting:
            raise FedmpiError("needs mpiexec")
        say(f"whole rounds on up to {fitting[-1]} emulated nodes")
        rows = beside(case, _measured(launch, case, fitting), launch.cores)
    except FedmpiError as error:
        why = dict.fromkeys(fitting, str(error).splitlines()[-1])
    ratios = {row["ranks"]: row["ratio"] for row in rows}
    where, short = " on emulated nodes", f"needs {MEMORY / 1e6:.0f} MB a rank"
    bars = [bar(ratios.get(one), one, where, why.get(one, "" if one in fitting else short))
            for one in counts]  # fmt: skip
    return {"gbit_s": GBIT_S, "case": asdict(case), "rows": rows, "bars": bars}


def beside(case: Case, runs: list[Found], cores: int) -> list[Found]:
    """Return the rows of `run`, given the `runs` of `bench run --on`.

    The last of `runs` is on one rank; the prediction is made from it.
    """
    experiment, watched = assembled(case), contributions.watched(assembled(case), WATCHED)
    *others, alone = runs
    measured = one_rank(alone, experiment.work(np.arange(case.clients)), case.per_round)
    cohorts = _cohorts(experiment, case)
    rows: list[Found] = []
    for real in sorted(others, key=lambda run: run["ranks"]):
        ranks, network = real["ranks"], network_of(real["short_message"])
        every = [Supports.of(one, ranks) for one in watched.sums] if ranks > 1 else []
        sums = sum(fastest(one, [network])[0][0] for one in every)
        waiting = max(ranks / cores, 1.0)
        found = [
            predicted(measured, work, ranks, network, sums, watched.memory, remember=remember,
                      waiting=waiting)
            for work, remember in cohorts
        ]  # fmt: skip
        parts = {name: float(np.median([one[name] for one in found])) for name in found[0]}
        ours = parts.pop("total")
        taken = middle(real["seconds"])
        short = real["short_message"]
        rows.append({"ranks": ranks, "short_message": short, **parts, "predicted": ours,
                     "taken": taken, "ratio": ours / taken})  # fmt: skip
    return rows


def _cohorts(experiment: Experiment, case: Case) -> list[tuple[Reals, Bools]]:
    """Return (work of the clients, whether each took part before) of each round but the first."""
    cohorts, seen = Synchronous(experiment), np.zeros(case.clients, bool)
    found: list[tuple[Reals, Bools]] = []
    for round in range(case.rounds):
        clients = cohorts.cohort({}, round, 0.0).clients
        found.append((experiment.work(clients), seen[clients]))
        seen[clients] = True
    return found[1:]


def network_of(seconds: float) -> ModelledNetwork:
    """Return the network of the links on which a short message takes `seconds` between ranks."""
    third = seconds / 3  # latency, and the overhead of either side
    return ModelledNetwork(third, third, 8 / (1e9 * GBIT_S), handshake=4 * third)


def free_memory(path: Path = Path("/proc/meminfo")) -> float:
    """Return the bytes of memory available to programs, infinite if unknown."""
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return float("inf")


def _measured(launch: Launch, case: Case, counts: list[int]) -> list[Found]:
    """Return the runs of a Case on each number of nodes in `counts`, and last on one."""
    words = ",".join(map(str, (*counts[::-1], 1)))  # the largest comes first: it loads all programs
    with TemporaryDirectory(prefix="fedmpi-bench-") as folder:
        config = Path(folder, "emulated.toml")
        config.write_text(case.text)
        with EmulatedNodes(counts[-1], GBIT_S) as nodes:
            on_nodes = replace(launch, nodes=nodes, most=counts[-1])
            found = on_nodes.fedmpi(["bench", "run", config, "--on", words], counts[-1])
    return list(found["runs"])
