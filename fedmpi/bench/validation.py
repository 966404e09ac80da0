"""Measure the error of virtual round times against those of real clients on this machine.

A device has its nominal speed at one reference work, the training of a whole round of FedAvg. Each
client runs the reference right before each round, and gets the share of a core that yields this
speed, since other programs change the speed of a core. Other work then shows whether FLOPs predict
its time.
"""

import os
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np

from fedmpi.bench import environment
from fedmpi.bench.measure import Bar, Found, Say, judged, plain
from fedmpi.bench.processes import Launch
from fedmpi.bench.real_rounds import METHODS, RealClient, experiment, rounds_of
from fedmpi.bench.shaped_links import ShapedLink
from fedmpi.errors import FedmpiError

BOUND = 0.10  # on the median error of round times
AT_A_TIME = (1, 2, 4)  # clients
STEPS, ROUNDS = 100, 4  # steps of a client in a round; rounds for each method and client count
AT_ONCE = 0.01  # a speed of a core so low that every device gets a whole core
Rounds: TypeAlias = list[list[Found]]
"""The result of real_rounds.rounds_of: a dict for each round and client."""


def run(launch: Launch, most: int, quick: bool, say: Say) -> Found:
    """Measure everything with at most `most` clients at a time, and return a dict for JSON.

    "links" is "shaped", or the reason why there are none. "rows" holds for each method and number
    of clients the mean seconds of a round, virtual and real, and median errors: of whole rounds,
    and of the parts of each client's round. "rounds" holds all measurements, "bars" the limits.
    """
    counts = [count for count in AT_A_TIME if count <= min(most, 2 if quick else 4)]
    methods = ("FedAvg",) if quick else tuple(METHODS)
    steps, many = (10, 2) if quick else (STEPS, ROUNDS)
    machine = environment.described(launch)
    rows: list[Found] = []
    raw: list[Found] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="fedmpi-bench-")))
        say(f"starting {counts[-1]} clients")
        clients, links = _clients(launch, counts[-1], stack)
        for method in methods:  # compiles kernels
            rounds_of(clients, experiment(method, counts[-1], 2, 1, 1.0), AT_ONCE, folder)
        rate, flops = _reference(clients, steps, folder)
        for count, method in product(counts, methods):
            say(f"{method}, {count} clients at a time")
            text = experiment(method, count, many, steps, rate)
            rounds = rounds_of(clients[:count], text, rate, folder, flops)
            key = {"method": method, "clients": count}
            rows.append(key | errors(rounds, links == "shaped"))
            raw.append(key | {"rounds": rounds})
    machine["load_after"] = os.getloadavg()
    bars = [_bar(rows, count, links) for count in counts]
    found = {"machine": machine, "links": links, "gflop_s_of_a_core": rate, "rows": rows,
             "rounds": raw}  # fmt: skip
    return dict(plain(found | {"bars": judged(bars, quick)}))


def errors(rounds: Rounds, shaped: bool) -> Found:
    """Return mean seconds of rounds, and median errors relative to the real seconds.

    A round ends with its last client; without shaped links, when the last client has computed.
    """
    whole = "total" if shaped else "compute"
    real, virtual = (
        np.array([max(client[name] for client in round) for round in rounds])
        for name in (whole, f"virtual_{whole}")
    )
    found = {"virtual_s": virtual.mean(), "real_s": real.mean()}
    found["error"] = np.median(abs(virtual / real - 1))
    for part in ("down", "compute", "up") if shaped else ():
        each = [c[f"virtual_{part}"] / c[part] - 1 for round in rounds for c in round]
        found[f"error_{part}"] = np.median(np.abs(each))
    return found


def _clients(launch: Launch, count: int, stack: ExitStack) -> tuple[list[RealClient], str]:
    """Start clients, with links if possible; return them, and "shaped" or why links are missing."""
    links: list[ShapedLink | None] = [None] * count
    said = "shaped"
    try:
        links = [stack.enter_context(ShapedLink(number)) for number in range(count)]
    except FedmpiError as error:
        said = f"none, so only computing is compared: {error}"
    clients = [RealClient(launch, number, link) for number, link in enumerate(links)]
    for client in clients:
        stack.callback(client.close)
    return clients, said


def _reference(clients: list[RealClient], steps: int, folder: Path) -> tuple[float, float]:
    """Send the reference to all clients; return the speed of a core in it, and its FLOPs."""
    path = folder / "reference.toml"
    path.write_text(experiment("FedAvg", len(clients), 1, steps, 1.0))
    for client in clients:
        client.begin(path, "reference")
    (first,) = rounds_of(clients, path.read_text(), AT_ONCE, folder)
    flops = first[0]["flops"]
    for _ in range(2):  # the first run fills the caches
        rates = [client.rate(flops, 1.0) for client in clients]
    return float(np.median(rates)), flops


def _bar(rows: list[Found], count: int, links: str) -> Bar:
    value = float(np.mean([row["error"] for row in rows if row["clients"] == count]))
    what = "round times" if links == "shaped" else "seconds of computing"
    return Bar(f"error of {what}, {count} clients at a time", value, BOUND, at_least=False)
